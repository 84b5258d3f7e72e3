/* The extension between the provider and the consumer of the tests. */
#ifndef CM_TEST_NUMBER_TABLE_H
#define CM_TEST_NUMBER_TABLE_H

#include <claudemesh/abi.h>

#define TEST_NUMBER_ID "test.number/1"

typedef struct test_number_v1 {
  uint32_t size;
  uint32_t reserved;
  uint64_t (*next)(void* instance) CM_NOEXCEPT;
} test_number_v1;

#endif
