// cm.storage/1: what `done` promises, and what one work may see of another. The statements that a store must understand
// for these checks are in StoreDriver::prepare and in this file: one table, insert, select, delete.
#include <claudemesh/ext/storage.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"
#include "sdk/checker/durability_checks.hpp"

namespace cm::checker {
namespace {

constexpr int kCrashRuns = 40;

template <typename Function>
Outcome with_store(const Subject& subject, Function&& function) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto store = std::make_shared<StoreDriver>(bench);
  bench.keep(store);
  if (!store->usable()) {
    return skipped("it has no cm.storage/1 table (lifecycle.offers_its_extensions says why)");
  }
  if (!store->prepare()) {
    return failed(store->problem(), "a table can be made: CREATE TABLE check_items (id INTEGER PRIMARY KEY, body TEXT)",
                  "apply the migration and answer CM_OK");
  }
  return function(bench, *store);
}

std::string spelled(const std::vector<StoreRow>& rows) {
  std::string text;
  for (const StoreRow& row : rows) {
    text += (text.empty() ? "" : ", ") + std::to_string(row.id) + "=" + row.body.substr(0, 20);
  }
  return text.empty() ? "no rows" : text;
}

Outcome expect_rows(StoreDriver& store, const std::string& wanted, const std::string& expected,
                    const std::string& remedy) {
  const auto rows = store.rows();
  if (!rows) {
    return failed(store.problem(), "the rows can be read", "answer a read with CM_OK and the rows");
  }
  return spelled(*rows) == wanted ? ok()
                                  : failed("a reader sees " + spelled(*rows), expected + " (" + wanted + ")", remedy);
}

Outcome migrates_once(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    const std::string sql = "CREATE TABLE check_items (id INTEGER PRIMARY KEY, body TEXT NOT NULL);";
    const StoreCall& again = store.migrate("check", sql);
    store.wait(again);
    if (again.accepted != CM_OK || again.status != CM_OK) {
      return failed("the same migration, once more, answered " + status_name(again.status) + " " + again.error,
                    "CM_OK: it is applied already", "remember what was applied, by schema and number");
    }
    const StoreCall& changed = store.migrate("check", sql + " -- changed");
    store.wait(changed);
    return changed.status == CM_INVALID || changed.accepted == CM_INVALID
               ? ok()
               : failed("a migration whose text was changed answered " + status_name(changed.status), "CM_INVALID",
                        "keep a checksum of what was applied and compare");
  });
}

Outcome shows_what_is_done(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    for (int i = 1; i <= 5; ++i) {
      const StoreCall& call = store.insert(i, "v" + std::to_string(i));
      if (!store.wait(call) || call.status != CM_OK) {
        return failed("a submitted insert answered " + status_name(call.status) + " " + call.error, "CM_OK", "run it");
      }
    }
    return expect_rows(store, "1=v1, 2=v2, 3=v3, 4=v4, 5=v5", "everything that was reported done",
                       "call done after the commit only");
  });
}

Outcome rolls_back_alone(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    store.insert(1, "kept");
    const StoreCall& failing = store.submit([&](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
      StoreDriver::execute(transaction, sql, store.insert_statement, 2, "undone");
      return CM_DENIED;
    });
    const StoreCall& broken = store.submit([&](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
      StoreDriver::execute(transaction, sql, store.insert_statement, 3, "undone");
      return StoreDriver::execute(transaction, sql, store.insert_statement, 3, "twice");
    });
    store.insert(4, "kept");
    store.wait_all();
    if (failing.status != CM_DENIED || broken.status == CM_OK) {
      return failed(
          "works that failed were reported as " + status_name(failing.status) + " and " + status_name(broken.status),
          "CM_DENIED, which the work answered, and CM_INVALID for the doubled key",
          "hand the work's own status to done");
    }
    return expect_rows(store, "1=kept, 4=kept", "failed works undone alone, their neighbours kept",
                       "give each work of a shared transaction a savepoint of its own");
  });
}

Outcome isolates_readers(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    cm_status inside = CM_OK;
    const StoreCall& reading = store.read([&](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
      inside = StoreDriver::execute(transaction, sql, store.insert_statement, 9, "by a reader");
      return CM_OK;
    });
    store.wait(reading);
    if (inside != CM_INVALID) {
      return failed("an insert inside `read` answered " + status_name(inside), "CM_INVALID: readers do not write",
                    "open readers read-only");
    }
    return expect_rows(store, "no rows", "nothing that a reader tried to write", "open readers read-only");
  });
}

Outcome answers_once_in_order(const Subject& subject) {
  return with_store(subject, [](Bench& bench, StoreDriver& store) {
    std::vector<const StoreCall*> calls;
    for (int i = 1; i <= 50; ++i) {
      calls.push_back(&store.insert(i, "x"));
    }
    store.wait_all();
    bench.run(2'000);
    std::uint64_t last = 0;
    for (const StoreCall* call : calls) {
      if (call->dones != 1 || call->runs < 1) {
        return failed("one of 50 works ran " + std::to_string(call->runs) + " times and was done " +
                          std::to_string(call->dones) + " times",
                      "run, and done once", "count every accepted submit");
      }
      if (call->order < last) {
        return failed("works were done in another order than they were submitted", "the order of the submits",
                      "keep one queue for all writes");
      }
      last = call->order;
    }
    return ok();
  });
}

Outcome answers_when_stopped(const Subject& subject) {
  return with_store(subject, [](Bench& bench, StoreDriver& store) {
    std::vector<const StoreCall*> calls;
    for (int i = 1; i <= 30; ++i) {
      calls.push_back(&store.insert(i, "x"));
    }
    bench.stop();
    bench.destroy();
    for (const StoreCall* call : calls) {
      if (call->accepted == CM_OK && call->dones != 1) {
        return failed("a work that was waiting at stop was answered " + std::to_string(call->dones) + " times",
                      "exactly once; CM_GONE when it can no longer be done", "answer the queue in stop");
      }
    }
    return ok();
  });
}

// --- values ----------------------------------------------------------------------------------------------------------

Outcome keeps_values(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    const std::pair<std::int64_t, std::string> items[] = {
        {std::numeric_limits<std::int64_t>::min(), "min"},
        {0, ""},
        {1, std::string("a\0b", 3)},
        {2, "\xf0\x9f\x98\x80 ' \" ; -- DROP"},
        {std::numeric_limits<std::int64_t>::max(), std::string(100'000, 'z')}};
    for (const auto& [id, body] : items) {
      const StoreCall& call = store.insert(id, body);
      store.wait(call);
      if (call.status != CM_OK) {
        return failed("the row " + std::to_string(id) + " was refused: " + call.error, "any 64-bit key and any text",
                      "bind parameters with their length");
      }
    }
    const auto rows = store.rows();
    if (!rows || rows->size() != std::size(items)) {
      return failed("wrote 5 rows and read " + std::to_string(rows ? rows->size() : 0), "5",
                    "see storage.shows_what_is_done");
    }
    for (std::size_t i = 0; i < rows->size(); ++i) {
      if ((*rows)[i].id != items[i].first || (*rows)[i].body != items[i].second) {
        return failed("the row " + std::to_string(items[i].first) + " comes back with " +
                          std::to_string((*rows)[i].body.size()) + " instead of " +
                          std::to_string(items[i].second.size()) + " bytes, or another key",
                      "the same bytes", "use sizes, not terminating zeros");
      }
    }
    return ok();
  });
}

Outcome knows_statements(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    const std::string sql = "SELECT id, body FROM check_items ORDER BY id";
    if (store.statement(sql) != store.select_statement) {
      return failed("the same text got another statement id", "the same id", "keep statements by text");
    }
    cm_status inside = CM_OK;
    const StoreCall& call =
        store.submit([&inside](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql_table) {
          inside = sql_table->execute(transaction, 0x7fffff00, nullptr, 0, nullptr);
          return CM_OK;
        });
    store.wait(call);
    return inside == CM_INVALID ? ok()
                                : failed("an unknown statement id answered " + status_name(inside), "CM_INVALID",
                                         "check ids before you use them as an index");
  });
}

Outcome stops_a_query(const Subject& subject) {
  return with_store(subject, [](Bench&, StoreDriver& store) {
    store.insert(1, "a");
    store.insert(2, "b");
    store.insert(3, "c");
    store.wait_all();
    int seen = 0;
    const StoreCall& call = store.read([&](cm_storage_transaction* transaction, const cm_storage_sql_v1* sql) {
      return sql->query(
          transaction, store.select_statement, nullptr, 0,
          [](void* user, const cm_value*, std::uint32_t) noexcept { return ++*static_cast<int*>(user) < 2; }, &seen);
    });
    store.wait(call);
    return seen == 2 && call.status == CM_OK
               ? ok()
               : failed("a row callback that answered false at the second row was called " + std::to_string(seen) +
                            " times; the query ended with " + status_name(call.status),
                        "twice, and CM_OK", "end the query when the callback answers false");
  });
}

// --- durability ------------------------------------------------------------------------------------------------------

bool on_simulated_disk(const Subject& subject) {
  return std::any_of(subject.config.values.begin(), subject.config.values.end(),
                     [](const auto& value) { return value.second.find("/cmsim/") != std::string::npos; });
}

Outcome survives_power_cuts(const Subject& subject) {
  if (!subject.config.durable) {
    return skipped("[check] says durable = false");
  }
  std::uint64_t points = 0;
  for (int run = 0; run < kCrashRuns; ++run) {
    Bench bench(subject, {.seed = static_cast<std::uint64_t>(run) + 1});
    if (!bench.bring_up()) {
      return bench.could_not("start");
    }
    const auto store = std::make_shared<StoreDriver>(bench);
    bench.keep(store);
    if (!store->usable() || !store->prepare()) {
      return failed(store->problem(), "a usable store", "see storage.migrates_once");
    }
    std::vector<const StoreCall*> calls;
    bench.node().crash_after_steps(on_simulated_disk(subject) ? static_cast<std::uint64_t>(run * 3 + 1) : 1'000'000);
    for (int i = 1; i <= 12 && bench.has_subject(); ++i) {
      calls.push_back(&store->insert(i, "v"));
      bench.run(static_cast<std::uint64_t>(i % 3) * 20);
    }
    progress("power cut " + std::to_string(run + 1));
    if (bench.has_subject()) {
      bench.crash();
    }
    if (!bench.boot_again()) {
      return failed("after a power cut it does not start: " + bench.problem(), "it starts with what was durable",
                    "recover on open");
    }
    const auto again = std::make_shared<StoreDriver>(bench);
    bench.keep(again);
    const auto rows = again->prepare() ? again->rows() : std::nullopt;
    if (!rows) {
      return failed("after a power cut: " + again->problem(), "the rows can be read", "recover on open");
    }
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const bool confirmed = calls[i]->dones != 0 && calls[i]->status == CM_OK;
      const bool there = std::any_of(rows->begin(), rows->end(),
                                     [&](const StoreRow& row) { return row.id == static_cast<std::int64_t>(i) + 1; });
      points += confirmed ? 1U : 0U;
      if (confirmed && !there) {
        return failed("after power cut " + std::to_string(run + 1) + " row " + std::to_string(i + 1) +
                          " is gone, although it was reported done",
                      "done means durable", "sync (fsync) before you call done");
      }
    }
  }
  return points > 0 ? ok() : failed("no work was done before any of the power cuts", "works are done", "see storage.*");
}

Outcome survives_full_disk(const Subject& subject) {
  if (!on_simulated_disk(subject)) {
    return skipped("no option names a file below /cmsim/, so the disk cannot be made full");
  }
  return with_store(subject, [](Bench& bench, StoreDriver& store) {
    store.wait(store.insert(1, "before"));
    bench.node().disk().faults.full = true;
    const StoreCall& refused = store.insert(2, std::string(200'000, 'x'));
    store.wait(refused);
    const bool lied = refused.accepted == CM_OK && refused.dones != 0 && refused.status == CM_OK;
    bench.node().disk().faults.full = false;
    bench.run(30'000);
    if (lied) {
      return failed("a write to a full disk was reported done", "CM_IO or CM_BUSY",
                    "look at the result of every write");
    }
    const StoreCall& after = store.insert(3, "after");
    store.wait(after);
    return after.status == CM_OK ? ok()
                                 : failed("after the disk has room again a write answers " + status_name(after.status) +
                                              " " + after.error,
                                          "CM_OK", "try again; a full disk is no final state");
  });
}

constexpr Check kChecks[] = {
    {"storage.migrates_once", 12, "A migration is applied once, and a changed one refused.", migrates_once,
     CM_STORAGE_ID},
    {"storage.shows_what_is_done", 12, "Readers see everything that was reported done.", shows_what_is_done,
     CM_STORAGE_ID},
    {"storage.rolls_back_alone", 12, "A work that fails is undone alone.", rolls_back_alone, CM_STORAGE_ID},
    {"storage.isolates_readers", 12, "A reader cannot write.", isolates_readers, CM_STORAGE_ID},
    {"storage.answers_once_in_order", 8, "Each work is done once, in the order of the submits.", answers_once_in_order,
     CM_STORAGE_ID},
    {"storage.answers_when_stopped", 8, "Works that wait at stop are answered.", answers_when_stopped, CM_STORAGE_ID},
    {"storage.keeps_values", 11, "Keys and texts come back as they were written.", keeps_values, CM_STORAGE_ID},
    {"storage.knows_statements", 10, "Statements are known by their text, and unknown ids refused.", knows_statements,
     CM_STORAGE_ID},
    {"storage.stops_a_query", 12, "A query ends when its reader has seen enough.", stops_a_query, CM_STORAGE_ID},
    {"storage.survives_power_cuts", 12, "What was reported done is there after a power cut.", survives_power_cuts,
     CM_STORAGE_ID, 40'000},
    {"storage.is_durable_when_done", 12, "`done` comes when the commit is on the disk, and not before.",
     is_durable_when_done, CM_STORAGE_ID, 60'000},
    {"storage.survives_full_disk", 12, "A full disk is reported, and no final state.", survives_full_disk,
     CM_STORAGE_ID, 30'000},
};

}  // namespace

std::span<const Check> storage_checks() {
  return kChecks;
}

}  // namespace cm::checker
