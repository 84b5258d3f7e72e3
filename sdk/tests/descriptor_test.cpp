// Goal: a descriptor is closed exactly once, by its last owner.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <type_traits>
#include <utility>

namespace cm {
namespace {

static_assert(!std::is_copy_constructible_v<Descriptor> && !std::is_copy_assignable_v<Descriptor>);
static_assert(std::is_nothrow_move_constructible_v<Descriptor> && std::is_nothrow_move_assignable_v<Descriptor>);

Descriptor open_null() {
  return Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Descriptor, IsClosedWithItsOwner) {
  int fd = -1;
  {
    const Descriptor descriptor = open_null();
    ASSERT_TRUE(descriptor);
    fd = descriptor.get();
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

TEST(Descriptor, MovesToAnotherOwner) {
  Descriptor first = open_null();
  const int fd = first.get();
  Descriptor second(std::move(first));
  EXPECT_EQ(second.get(), fd);
  Descriptor third = open_null();
  const int replaced = third.get();
  third = std::move(second);
  EXPECT_EQ(third.get(), fd);
  EXPECT_FALSE(is_open(replaced));
  EXPECT_TRUE(is_open(fd));
}

TEST(Descriptor, StaysItselfWhenItIsMovedToItself) {
  Descriptor descriptor = open_null();
  Descriptor& same = descriptor;
  descriptor = std::move(same);
  EXPECT_TRUE(is_open(descriptor.get()));
}

TEST(Descriptor, IsNotClosedAfterRelease) {
  Descriptor descriptor = open_null();
  const Descriptor owner(descriptor.release());
  EXPECT_FALSE(descriptor);
  descriptor.reset();
  EXPECT_TRUE(is_open(owner.get()));
}

TEST(Descriptor, OwnsNothingAfterAFailedCall) {
  const Descriptor missing(::open("/there/is/no/such/file", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(missing);
  EXPECT_FALSE(Descriptor());
}

}  // namespace
}  // namespace cm
