// Goal: an exception of a feature of the broker, of a way of delivery or of a work of the storage stops at the
// boundary: the client, the broker or the submitter gets an answer. Method: the test plays the broker and the storage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <claudemesh/cpp/broker.hpp>

#include <stdexcept>
#include <string>
#include <vector>

#include "sdk/tests/played_host.hpp"

namespace cm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

[[noreturn]] void fail() {
  throw std::runtime_error("on purpose");
}
std::string accusation(const std::string& callback) {
  return "an exception left the callback " + callback + ": on purpose";
}

// What the broker was given, and what it was told.
struct Broker {
  cm_broker_request_handler request = nullptr;
  cm_broker_target_handler target = nullptr;
  cm_broker_http_handler http = nullptr;
  void* user = nullptr;
  cm_broker_audience audience = {};
  cm_broker_way way = {};
  std::vector<std::string> errors;
  std::uint32_t http_status = 0;
  int rows = 0;
};
Broker* broker = nullptr;

cm_status serve_type(void*, cm_handle, cm_text_pview, cm_broker_request_handler handler, void* user) noexcept {
  broker->request = handler;
  broker->user = user;
  return CM_OK;
}
cm_status serve_target(void*, cm_handle, cm_text_pview, cm_broker_target_handler handler, void* user) noexcept {
  broker->target = handler;
  broker->user = user;
  return CM_OK;
}
cm_status serve_http(void*, cm_handle, cm_text_pview, cm_text_pview, cm_broker_http_handler handler,
                     void* user) noexcept {
  broker->http = handler;
  broker->user = user;
  return CM_OK;
}
cm_status error(void*, cm_handle, cm_handle, cm_text_pview code, cm_text_pview) noexcept {
  broker->errors.emplace_back(to_view(code));
  return CM_OK;
}
cm_status route(void*, cm_handle, cm_handle, const cm_broker_audience* audience) noexcept {
  broker->audience = *audience;
  return CM_OK;
}
cm_status http_respond(void*, cm_handle, cm_handle, std::uint32_t status, const cm_http_header*, std::uint64_t,
                       cm_bytes_pview) noexcept {
  broker->http_status = status;
  return CM_OK;
}
cm_status presences(void*, cm_handle, cm_text_pview, cm_broker_presence_row row, void* user) noexcept {
  const cm_broker_sender sender = {};
  for (broker->rows = 0; broker->rows < 3; ++broker->rows) {
    row(user, &sender);
  }
  return CM_OK;
}
cm_status members(void*, cm_handle, cm_text_pview, cm_broker_member_row row, void* user) noexcept {
  const cm_broker_member member = {};
  for (broker->rows = 0; broker->rows < 3; ++broker->rows) {
    row(user, &member);
  }
  return CM_OK;
}
cm_status add_way(void*, cm_handle, const cm_broker_way* way, void* user, cm_handle* out) noexcept {
  broker->way = *way;
  broker->user = user;
  *out = 4;
  return CM_OK;
}
void remove_way(void*, cm_handle, cm_handle) noexcept {}

// --- the storage that is played
// -----------------------------------------------------------------------------------------

struct Store {
  cm_storage_work work = nullptr;
  cm_storage_done done = nullptr;
  void* user = nullptr;
  int rows = 0;
};
Store* store = nullptr;

cm_status submit(void*, cm_handle, cm_storage_work work, cm_storage_done done, void* user) noexcept {
  *store = {work, done, user, 0};
  return CM_OK;
}
cm_status backup(void*, cm_handle, cm_text_pview, cm_storage_done done, void* user) noexcept {
  *store = {nullptr, done, user, 0};
  return CM_OK;
}
cm_status query(cm_storage_transaction*, cm_statement, const cm_value*, std::uint32_t, cm_row_callback row,
                void* user) noexcept {
  const cm_value column = {};
  while (store->rows < 3) {
    ++store->rows;
    if (!row(user, &column, 1)) {
      break;
    }
  }
  return CM_OK;
}
cm_text_hview last_error(cm_storage_transaction*) noexcept {
  return {};
}
constexpr cm_storage_sql_v1 kSql = {sizeof(cm_storage_sql_v1), 0, nullptr, &query, &last_error};

class BrokerBoundaryTest : public ::testing::Test {
 protected:
  BrokerBoundaryTest() {
    broker = &given;
    store = &kept;
    table.size = sizeof(table);
    table.serve_type = &serve_type;
    table.serve_target = &serve_target;
    table.serve_http = &serve_http;
    table.error = &error;
    table.route = &route;
    table.http_respond = &http_respond;
    table.presences = &presences;
    table.members = &members;
    delivery.size = sizeof(delivery);
    delivery.add_way = &add_way;
    delivery.remove_way = &remove_way;
    storage.size = sizeof(storage);
    storage.submit = &submit;
    storage.backup = &backup;
    played.give(CM_BROKER_MESSAGES_ID, &table);
    played.give(CM_BROKER_DELIVERY_ID, &delivery);
    played.give(CM_STORAGE_ID, &storage);
  }
  void SetUp() override { ASSERT_TRUE(messages.acquire(host, "")); }

  Broker given;
  Store kept;
  cm_broker_messages_v1 table = {};
  cm_broker_delivery_v1 delivery = {};
  cm_storage_v1 storage = {};
  testing::PlayedHost played;
  HostApi host{played.raw()};
  BrokerMessages messages;
  const cm_broker_sender sender = {};
};

TEST_F(BrokerBoundaryTest, ARequestWhoseHandlerThrowsGetsAnError) {
  ASSERT_TRUE(messages.serve_type("ask", [](auto, const cm_broker_sender&, std::string_view) { fail(); }));
  given.request(given.user, 1, &sender, to_hview("ask"), to_hview("{}"));
  EXPECT_THAT(given.errors, ElementsAre("internal"));
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("broker_request")));
}

TEST_F(BrokerBoundaryTest, ASendWhoseHandlerThrowsIsRefused) {
  ASSERT_TRUE(messages.serve_target("#", [](auto, const cm_broker_sender&, const cm_broker_send&) { fail(); }));
  const cm_broker_send send = {};
  given.target(given.user, 1, &sender, &send);
  EXPECT_THAT(given.errors, ElementsAre("internal"));
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("broker_target")));
}

TEST_F(BrokerBoundaryTest, AnHttpRequestWhoseHandlerThrowsGets500) {
  ASSERT_TRUE(messages.serve_http("GET", "/x", [](auto, const cm_http_request_info&) { fail(); }));
  const cm_http_request_info info = {};
  given.http(given.user, 1, &info);
  EXPECT_EQ(given.http_status, 500u);
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("broker_http")));
}

TEST_F(BrokerBoundaryTest, AWorkOfASendThatThrowsRefusesTheMessage) {
  std::string told;
  ASSERT_TRUE(messages.serve_target(
      "#", [&told](const BrokerMessages::Send& send, const cm_broker_sender&, const cm_broker_send&) {
        const cm_status routed = send.route(
            {"m"}, "t", [](SqlTransaction&) -> Status { fail(); },
            [&told](const Status& status) {
              told = status.error().message;
              fail();
            });
        EXPECT_EQ(routed, CM_OK);
      }));
  const cm_broker_send send = {};
  given.target(given.user, 1, &sender, &send);
  EXPECT_EQ(given.audience.work(given.audience.work_user, nullptr, &kSql), CM_INTERNAL);
  given.audience.done(given.audience.work_user, CM_INTERNAL, {});
  EXPECT_THAT(told, HasSubstr("an exception left the work"));
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("broker_work"), accusation("broker_done")));
}

TEST_F(BrokerBoundaryTest, RowsThatThrowAreThrownBehindTheCFunction) {
  int rows = 0;
  const auto row = [&rows](const auto&) {
    ++rows;
    fail();
  };
  EXPECT_THROW(messages.for_each_presence("m", row), std::runtime_error);
  EXPECT_EQ(given.rows, 3) << "the C function was not unwound";
  EXPECT_THROW(messages.for_each_member("m", row), std::runtime_error);
  EXPECT_EQ(given.rows, 3);
  EXPECT_EQ(rows, 2) << "no row is called after one that threw";
}

class ThrowingWay final : public BrokerWay {
 protected:
  std::uint32_t on_offer(cm_handle, const cm_broker_offer&) override { fail(); }
  void on_withdrawn(cm_handle) override { fail(); }
};

TEST_F(BrokerBoundaryTest, AnOfferThatThrowsIsMadeAgainLater) {
  ThrowingWay way;
  ASSERT_TRUE(way.open(host, "", "mail", 1));
  const cm_broker_offer offer = {};
  EXPECT_EQ(given.way.offer(given.user, 1, &offer), CM_BROKER_LATER);
  given.way.withdrawn(given.user, 1);
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("broker_offer"), accusation("broker_withdrawn")));
}

TEST_F(BrokerBoundaryTest, AWorkOrARowThatThrowsIsTheSubmittersError) {
  auto client = StorageClient::acquire(host, "");
  ASSERT_TRUE(client);
  for (const bool in_row : {false, true}) {
    std::string told;
    client->submit(
        [in_row](SqlTransaction& transaction) -> Status {
          if (!in_row) {
            fail();
          }
          return transaction.query(1, {}, [](const SqlRow&) { fail(); });
        },
        [&told](const Status& status) {
          told = status.error().message;
          fail();
        });
    EXPECT_EQ(kept.work(kept.user, nullptr, &kSql), CM_INTERNAL);
    EXPECT_EQ(kept.rows, in_row ? 1 : 0);
    kept.done(kept.user, CM_INTERNAL, {});
    EXPECT_THAT(told, HasSubstr("an exception left the work, so it was rolled back"));
    EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("storage_work"), accusation("storage_done")));
  }
  client->backup("/x", [](const Status&) { fail(); });
  kept.done(kept.user, CM_OK, {});
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("storage_done")));
}

}  // namespace
}  // namespace cm
