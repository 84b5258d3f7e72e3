// Goal: buffer handles count references exactly, from any thread, and stale ones are harmless.
#include "host/services/buffers.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CM_TEST_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CM_TEST_ADDRESS_SANITIZER 1
#endif

namespace cm::host {
namespace {

net::SharedBuffer bytes_of(std::string_view text) {
  return net::SharedBuffer::copy(text);
}

TEST(BufferStore, KeepsTheBytesUntilTheLastReference) {
  BufferStore store;
  const cm_hbuf buffer = store.insert(bytes_of("payload"), 1).value();
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(buffer.data), buffer.size), "payload");
  EXPECT_TRUE(store.retain(buffer.handle, 1));
  EXPECT_TRUE(store.release(buffer.handle, 1));
  EXPECT_EQ(store.alive(), 1u);
  EXPECT_TRUE(store.release(buffer.handle, 1));
  EXPECT_EQ(store.alive(), 0u);
  EXPECT_FALSE(store.release(buffer.handle, 1));
  EXPECT_FALSE(store.retain(buffer.handle, 1));
}

TEST(BufferStore, ASharedBufferOutlivesItsHandle) {
  BufferStore store;
  const cm_hbuf buffer = store.insert(bytes_of("payload"), 1).value();
  net::SharedBuffer shared;
  ASSERT_TRUE(store.share(buffer.handle, shared));
  EXPECT_EQ(shared.data(), buffer.data);
  store.release(buffer.handle, 1);
  EXPECT_EQ(shared.view(), "payload");
  net::SharedBuffer none;
  EXPECT_FALSE(store.share(buffer.handle, none));
}

// Rule 11: the memory goes with its last reference, so the sanitizer build finds a plugin that keeps a view.
TEST(BufferStoreDeathTest, AViewThatIsKeptTooLongIsFound) {
#if defined(CM_TEST_ADDRESS_SANITIZER)
  BufferStore store;
  const cm_hbuf buffer = store.insert(bytes_of(std::string(100, 'x')), 1).value();
  const volatile std::uint8_t* kept = buffer.data;
  EXPECT_EQ(*kept, 'x');
  store.release(buffer.handle, 1);
  EXPECT_DEATH(static_cast<void>(*kept), "heap-use-after-free");
#else
  GTEST_SKIP() << "needs a build with the address sanitizer";
#endif
}

TEST(BufferStore, TheEmptyBufferIsTheNullHandle) {
  BufferStore store;
  const cm_hbuf buffer = store.insert(net::SharedBuffer(), 1).value();
  EXPECT_EQ(buffer.handle, CM_NO_HANDLE);
  EXPECT_TRUE(store.retain(buffer.handle, 1));
  EXPECT_TRUE(store.release(buffer.handle, 1));
  net::SharedBuffer shared = bytes_of("x");
  EXPECT_TRUE(store.share(buffer.handle, shared));
  EXPECT_TRUE(shared.empty());
}

TEST(BufferStore, ForgedHandlesAreRefused) {
  BufferStore store;
  EXPECT_FALSE(store.release(make_handle(1, 0), 1));
  EXPECT_FALSE(store.release(make_handle(9, UINT32_MAX), 1));
  EXPECT_FALSE(store.retain(UINT64_MAX, 1));
}

TEST(BufferStore, FreesWhatAnOwnerLeftBehindUnlessAnotherInstanceUsedIt) {
  BufferStore store;
  const cm_hbuf left = store.insert(bytes_of("left"), 1).value();
  const cm_hbuf shared = store.insert(bytes_of("shared"), 1).value();
  const cm_hbuf foreign = store.insert(bytes_of("foreign"), 2).value();
  store.retain(left.handle, 1);
  store.retain(shared.handle, 2);
  EXPECT_EQ(store.free_owned_by(1), 1u);
  EXPECT_FALSE(store.retain(left.handle, 1));
  EXPECT_TRUE(store.retain(shared.handle, 2));
  EXPECT_TRUE(store.retain(foreign.handle, 2));
}

TEST(BufferStore, CountsRightFromManyThreads) {
  BufferStore store;
  constexpr int kThreads = 4;
  constexpr int kRounds = 20'000;
  const cm_hbuf common = store.insert(bytes_of("common"), 1).value();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&store, common] {
      for (int i = 0; i < kRounds; ++i) {
        ASSERT_TRUE(store.retain(common.handle, 1));
        const cm_hbuf own = store.insert(bytes_of("own"), 2).value();
        net::SharedBuffer view;
        ASSERT_TRUE(store.share(own.handle, view));
        ASSERT_EQ(view.view(), "own");
        ASSERT_TRUE(store.release(own.handle, 2));
        ASSERT_FALSE(store.release(own.handle, 2));
        ASSERT_TRUE(store.release(common.handle, 1));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(store.alive(), 1u);
  EXPECT_TRUE(store.release(common.handle, 1));
  EXPECT_EQ(store.alive(), 0u);
}

}  // namespace
}  // namespace cm::host
