/* cm.storage/1: a transaction runner over prepared SQL, offered by storage plugins (one instance is one database).
 *
 * Durability: `done` of a submitted work is called only after the transaction that contains the work is on stable
 * storage (for SQLite: WAL, synchronous=FULL, after the commit's fsync). Works of several submits may share one commit;
 * a work that fails is rolled back alone (savepoint), the others go on. Works run in the order of their submits.
 *
 * In this table the provider is the storage plugin: `_hview` is its memory, `_pview` the caller's. `caller` is the
 * caller's cm_host.self: answers are posted to that instance's loop. */
#ifndef CLAUDEMESH_EXT_STORAGE_H
#define CLAUDEMESH_EXT_STORAGE_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CM_STORAGE_ID "cm.storage/1"

#define CM_VALUE_NULL UINT32_C(0)
#define CM_VALUE_INT UINT32_C(1)
#define CM_VALUE_FLOAT UINT32_C(2)
#define CM_VALUE_TEXT UINT32_C(3)
#define CM_VALUE_BLOB UINT32_C(4)

/* One SQL value. Text and blob point to memory of whoever hands it over, valid until the call or callback returns. */
typedef struct cm_value {
  uint32_t type;
  uint32_t reserved;
  int64_t integer;
  double real;
  const uint8_t* data;
  uint64_t data_size;
} cm_value;

/* A statement, known by its SQL text; prepared once per connection and kept. Parameters are ?1, ?2, ... */
typedef uint32_t cm_statement;

typedef struct cm_storage_transaction cm_storage_transaction; /* of the provider; only inside `work` */

/* One row; answer false to stop. [worker] */
typedef bool (*cm_row_callback)(void* user, const cm_value* columns, uint32_t column_count) CM_NOEXCEPT;

/* What a work may do with the database. Valid during the work. Since ABI 1.0. */
typedef struct cm_storage_sql_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Runs one statement. `out_changes` may be null. CM_INVALID: SQL or constraint error (the text is in last_error);
   * CM_BUSY, CM_IO: the database cannot do it now (disk full, locked): the work should answer that status. [worker] */
  cm_status (*execute)(cm_storage_transaction* transaction, cm_statement statement, const cm_value* parameters,
                       uint32_t parameter_count, uint64_t* out_changes) CM_NOEXCEPT;
  /* Runs one statement and calls `row` for each row. Errors as for `execute`. [worker] */
  cm_status (*query)(cm_storage_transaction* transaction, cm_statement statement, const cm_value* parameters,
                     uint32_t parameter_count, cm_row_callback row, void* user) CM_NOEXCEPT;
  /* Why the last function of this work failed; valid until the next one. [worker] */
  cm_text_hview (*last_error)(cm_storage_transaction* transaction) CM_NOEXCEPT;
} cm_storage_sql_v1;

/* The work itself. Any answer but CM_OK rolls back what this work did, and is what `done` gets. It may only touch what
 * belongs to it: the caller's loop runs at the same time. [worker] */
typedef cm_status (*cm_storage_work)(void* user, cm_storage_transaction* transaction,
                                     const cm_storage_sql_v1* sql) CM_NOEXCEPT;
/* Exactly once per accepted submit, on the caller's loop. CM_GONE: the caller was stopped before the answer could reach
 * it; this comes on any thread, perhaps after the caller's destroy, and the function may only free `user`. A work never
 * answers CM_GONE itself. `error` is for a log. [loop] */
typedef void (*cm_storage_done)(void* user, cm_status status, cm_text_hview error) CM_NOEXCEPT;

/* One step of a schema. Copied by `migrate`. */
typedef struct cm_migration {
  uint32_t number; /* 1, 2, 3, ... without a gap */
  uint32_t reserved;
  cm_text_pview name; /* "0001_outbox" */
  cm_text_pview sql;  /* one or more statements */
} cm_migration;

/* One database, offered as cm.storage/1. Since ABI 1.0. */
typedef struct cm_storage_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Registers a statement; the same text gives the same id. Errors in the SQL show when it first runs. [any] */
  cm_status (*statement)(void* instance, cm_text_pview sql, cm_statement* out_statement) CM_NOEXCEPT;
  /* Applies what is missing of `schema`'s migrations, in order, forward only, under the database's lock. A file whose
   * checksum differs from the applied one is CM_INVALID and nothing is changed. [any] */
  cm_status (*migrate)(void* instance, cm_handle caller, cm_text_pview schema, const cm_migration* migrations,
                       uint32_t migration_count, cm_storage_done done, void* user) CM_NOEXCEPT;
  /* Runs `work` in a write transaction, then `done` once it is durable. CM_BUSY when the queue is full (option
   * queue_max); the caller should answer its own client with a retryable error. [any] */
  cm_status (*submit)(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                      void* user) CM_NOEXCEPT;
  /* Runs `work` on a reader; it sees everything that was reported done before. Writing is CM_INVALID. [any] */
  cm_status (*read)(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done,
                    void* user) CM_NOEXCEPT;
  /* Writes a consistent copy while work goes on. `path` must not exist. [any] */
  cm_status (*backup)(void* instance, cm_handle caller, cm_text_pview path, cm_storage_done done,
                      void* user) CM_NOEXCEPT;
  /* The SQL spelling of what differs between databases: "now_ms", "blob", "autoincrement_key", "json". [any] */
  cm_text_hview (*dialect)(void* instance, cm_text_pview key) CM_NOEXCEPT;
} cm_storage_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_value) == 40, "layout of cm_value");
CM_STATIC_ASSERT(sizeof(cm_storage_sql_v1) == 32, "layout of cm_storage_sql_v1");
CM_STATIC_ASSERT(sizeof(cm_migration) == 40, "layout of cm_migration");
CM_STATIC_ASSERT(sizeof(cm_storage_v1) == 56, "layout of cm_storage_v1");

#endif
