/* {{name}}: cm.storage/1 over an SQLite database in memory. One worker runs all works in the order of their arrival,
 * each in a transaction of its own, so reads see everything that was reported done. Memory is as durable as the
 * process. */
#include <claudemesh/ext/storage.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "plugin_base.h"

#define STATEMENTS_MAX 4096
#define COLUMNS_MAX 256
#define MIGRATIONS_MAX 1024

/* A statement text; prepared on the worker when it first runs. */
struct statement {
  char* sql;
  sqlite3_stmt* prepared;
};
/* A migration that was applied. */
struct applied {
  struct applied* next;
  char* schema;
  uint32_t number;
  char* sql;
};

struct {{name}} {
  struct base base;
  const cm_loop_v1* loop;
  const cm_worker_v1* worker;
  cm_handle queue;
  int64_t queue_max;
  atomic_int_fast64_t waiting;
  atomic_bool accepting;
  pthread_mutex_t lock; /* of the statements' texts and their count */
  struct statement statements[STATEMENTS_MAX];
  uint32_t statement_count;
  sqlite3* database;       /* only on the worker, but for its making and its end; so is what follows */
  struct applied* applied; /* the memory is new at each start, so this is as old as the tables */
  char error[256];
};

/* What a work sees as its transaction. */
struct cm_storage_transaction {
  struct {{name}}* self;
  bool may_write;
};

/* --- SQL, on the worker --- */

static void keep_error(struct {{name}}* self, const char* text) {
  strncpy(self->error, text, sizeof self->error - 1);
}
static bool run_sql(struct {{name}}* self, const char* sql) {
  const bool good = sqlite3_exec(self->database, sql, NULL, NULL, NULL) == SQLITE_OK;
  keep_error(self, good ? "" : sqlite3_errmsg(self->database));
  return good;
}
static sqlite3_stmt* prepare(struct {{name}}* self, cm_statement id) {
  const char* sql = NULL;
  pthread_mutex_lock(&self->lock);
  if (id < self->statement_count) {
    sql = self->statements[id].sql;
  }
  pthread_mutex_unlock(&self->lock);
  if (sql == NULL) {
    keep_error(self, "found an unknown statement id; expected one that `statement` gave");
    return NULL;
  }
  struct statement* statement = &self->statements[id];
  if (statement->prepared == NULL && sqlite3_prepare_v3(self->database, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                                        &statement->prepared, NULL) != SQLITE_OK) {
    keep_error(self, sqlite3_errmsg(self->database));
  }
  return statement->prepared;
}
static int bind(sqlite3_stmt* statement, int at, const cm_value* value) {
  const char* data = value->data_size == 0 ? "" : (const char*)value->data;
  switch (value->type) {
    case CM_VALUE_INT:
      return sqlite3_bind_int64(statement, at, value->integer);
    case CM_VALUE_FLOAT:
      return sqlite3_bind_double(statement, at, value->real);
    case CM_VALUE_TEXT:
      return sqlite3_bind_text64(statement, at, data, value->data_size, SQLITE_TRANSIENT, SQLITE_UTF8);
    case CM_VALUE_BLOB:
      return sqlite3_bind_blob64(statement, at, data, value->data_size, SQLITE_TRANSIENT);
    default:
      return sqlite3_bind_null(statement, at);
  }
}
static bool give_row(sqlite3_stmt* statement, cm_row_callback row, void* user) {
  cm_value columns[COLUMNS_MAX];
  const int count = sqlite3_column_count(statement) < COLUMNS_MAX ? sqlite3_column_count(statement) : COLUMNS_MAX;
  memset(columns, 0, sizeof columns);
  for (int at = 0; at < count; ++at) {
    cm_value* value = &columns[at];
    switch (sqlite3_column_type(statement, at)) {
      case SQLITE_INTEGER:
        value->type = CM_VALUE_INT;
        value->integer = sqlite3_column_int64(statement, at);
        break;
      case SQLITE_FLOAT:
        value->type = CM_VALUE_FLOAT;
        value->real = sqlite3_column_double(statement, at);
        break;
      case SQLITE_NULL:
        value->type = CM_VALUE_NULL;
        break;
      default:
        value->type = sqlite3_column_type(statement, at) == SQLITE_TEXT ? CM_VALUE_TEXT : CM_VALUE_BLOB;
        value->data = sqlite3_column_blob(statement, at);
        value->data_size = (uint64_t)sqlite3_column_bytes(statement, at);
    }
  }
  return row(user, columns, (uint32_t)count);
}
static cm_status run_statement(cm_storage_transaction* transaction, cm_statement id, const cm_value* values,
                               uint32_t count, uint64_t* out_changes, cm_row_callback row, void* user) {
  struct {{name}}* self = transaction->self;
  sqlite3_stmt* statement = prepare(self, id);
  if (statement == NULL) {
    return CM_INVALID;
  }
  if (!transaction->may_write && sqlite3_stmt_readonly(statement) == 0) {
    keep_error(self, "found a statement that writes; expected a reading one inside of `read`");
    return CM_INVALID;
  }
  const int before = sqlite3_total_changes(self->database);
  int step = SQLITE_OK;
  for (uint32_t i = 0; i < count && step == SQLITE_OK; ++i) {
    step = bind(statement, (int)i + 1, &values[i]);
  }
  if (step == SQLITE_OK) {
    do {
      step = sqlite3_step(statement);
    } while (step == SQLITE_ROW && (row == NULL || give_row(statement, row, user)));
  }
  const bool good = step == SQLITE_DONE || step == SQLITE_ROW; /* the reader has seen enough */
  if (!good) {
    keep_error(self, sqlite3_errmsg(self->database));
  } else if (out_changes != NULL) {
    *out_changes = (uint64_t)(sqlite3_total_changes(self->database) - before);
  }
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return good ? CM_OK : CM_INVALID;
}
static cm_status sql_execute(cm_storage_transaction* transaction, cm_statement statement, const cm_value* values,
                             uint32_t count, uint64_t* out_changes) {
  return run_statement(transaction, statement, values, count, out_changes, NULL, NULL);
}
static cm_status sql_query(cm_storage_transaction* transaction, cm_statement statement, const cm_value* values,
                           uint32_t count, cm_row_callback row, void* user) {
  return run_statement(transaction, statement, values, count, NULL, row, user);
}
static cm_text_hview sql_last_error(cm_storage_transaction* transaction) {
  const cm_text_hview view = {transaction->self->error, strlen(transaction->self->error)};
  return view;
}
static const cm_storage_sql_v1 sql_table = {sizeof sql_table, 0, sql_execute, sql_query, sql_last_error};

/* --- accepted calls: they run on the worker and answer on the caller's loop --- */

enum job_kind { JOB_WRITE, JOB_READ, JOB_MIGRATE, JOB_BACKUP };
struct job {
  struct {{name}}* self;
  enum job_kind kind;
  cm_handle caller;
  cm_storage_work work;
  cm_storage_done done;
  void* user;
  char* text;  /* JOB_MIGRATE: the schema; JOB_BACKUP: the path */
  char** sqls; /* JOB_MIGRATE */
  uint32_t sql_count;
  cm_status status;
  char error[256];
};

static void free_job(struct job* job) {
  for (uint32_t i = 0; i < job->sql_count; ++i) {
    free(job->sqls[i]);
  }
  free(job->sqls);
  free(job->text);
  free(job);
}
static cm_status transact(struct {{name}}* self, const struct job* job) {
  cm_storage_transaction transaction = {self, job->kind == JOB_WRITE};
  char reason[sizeof self->error];
  if (!run_sql(self, "BEGIN")) {
    return CM_IO;
  }
  cm_status status = job->work(job->user, &transaction, &sql_table);
  if (status == CM_OK && run_sql(self, "COMMIT")) {
    return CM_OK;
  }
  status = status == CM_OK ? CM_INVALID : status;
  memcpy(reason, self->error, sizeof reason);
  run_sql(self, "ROLLBACK");
  keep_error(self, reason);
  return status;
}
static struct applied* find_applied(const struct {{name}}* self, const char* schema, uint32_t number) {
  struct applied* applied = self->applied;
  while (applied != NULL && (applied->number != number || strcmp(applied->schema, schema) != 0)) {
    applied = applied->next;
  }
  return applied;
}
static cm_status apply(struct {{name}}* self, const char* schema, uint32_t number, const char* sql) {
  struct applied* applied = calloc(1, sizeof *applied);
  if (applied != NULL) {
    applied->schema = base_copy(schema, strlen(schema));
    applied->sql = base_copy(sql, strlen(sql));
    applied->number = number;
    applied->next = self->applied;
  }
  if (applied != NULL && applied->schema != NULL && applied->sql != NULL && run_sql(self, "BEGIN")) {
    if (run_sql(self, sql) && run_sql(self, "COMMIT")) {
      self->applied = applied;
      return CM_OK;
    }
    char reason[sizeof self->error];
    memcpy(reason, self->error, sizeof reason);
    run_sql(self, "ROLLBACK");
    keep_error(self, reason);
  }
  if (applied != NULL) {
    free(applied->schema);
    free(applied->sql);
    free(applied);
  }
  return CM_INVALID;
}
static cm_status migrate_now(struct {{name}}* self, const struct job* job) {
  for (uint32_t i = 0; i < job->sql_count; ++i) {
    const struct applied* applied = find_applied(self, job->text, i + 1);
    if (applied != NULL && strcmp(applied->sql, job->sqls[i]) != 0) {
      keep_error(self, "found a migration that has changed since it was applied; expected a new one after it");
      return CM_INVALID;
    }
  }
  cm_status status = CM_OK;
  for (uint32_t i = 0; i < job->sql_count && status == CM_OK; ++i) {
    status = find_applied(self, job->text, i + 1) != NULL ? CM_OK : apply(self, job->text, i + 1, job->sqls[i]);
  }
  return status;
}
static cm_status backup_now(struct {{name}}* self, const struct job* job) {
  sqlite3* copy = NULL;
  bool good = sqlite3_open_v2(job->text, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK;
  sqlite3_backup* backup = good ? sqlite3_backup_init(copy, "main", self->database, "main") : NULL;
  good = backup != NULL && sqlite3_backup_step(backup, -1) == SQLITE_DONE;
  good = sqlite3_backup_finish(backup) == SQLITE_OK && good;
  keep_error(self, good ? "" : sqlite3_errmsg(copy));
  sqlite3_close(copy);
  return good ? CM_OK : CM_IO;
}
static void answer(void* user) {
  struct job* job = user;
  const cm_text_hview error = {job->error, strlen(job->error)};
  job->done(job->user, job->status, error);
  free_job(job);
}
static void nobody(void* user) {
  struct job* job = user;
  job->status = CM_GONE;
  job->error[0] = 0;
  answer(job);
}
static void run_job(void* user) {
  struct job* job = user;
  struct {{name}}* self = job->self;
  self->error[0] = 0;
  switch (job->kind) {
    case JOB_MIGRATE:
      job->status = migrate_now(self, job);
      break;
    case JOB_BACKUP:
      job->status = backup_now(self, job);
      break;
    default:
      job->status = transact(self, job);
  }
  if (job->status != CM_OK) {
    memcpy(job->error, self->error, sizeof job->error);
  }
  atomic_fetch_sub(&self->waiting, 1);
  if (self->loop->post(self->base.host->self, job->caller, answer, nobody, job) != CM_OK) {
    nobody(job);
  }
}
/* Takes `job`, also when it answers a failure. */
static cm_status enqueue(struct job* job) {
  struct {{name}}* self = job->self;
  cm_status status = CM_GONE;
  if (atomic_load(&self->accepting)) {
    status = CM_BUSY;
    if (atomic_fetch_add(&self->waiting, 1) < self->queue_max) {
      status = self->worker->submit(self->base.host->self, self->queue, run_job, job);
    }
    if (status != CM_OK) {
      atomic_fetch_sub(&self->waiting, 1);
    }
  }
  if (status != CM_OK) {
    free_job(job);
  }
  return status;
}
static struct job* new_job(void* instance, enum job_kind kind, cm_handle caller, cm_storage_done done, void* user) {
  struct job* job = calloc(1, sizeof *job);
  if (job != NULL) {
    job->self = instance;
    job->kind = kind;
    job->caller = caller;
    job->done = done;
    job->user = user;
  }
  return job;
}

/* --- cm.storage/1 --- */

static cm_status statement(void* instance, cm_text_pview sql, cm_statement* out_statement) {
  struct {{name}}* self = instance;
  cm_status status = CM_OK;
  uint32_t id = 0;
  pthread_mutex_lock(&self->lock);
  while (id < self->statement_count && !base_same(sql.data, sql.size, self->statements[id].sql)) {
    ++id;
  }
  if (id == self->statement_count) {
    char* copy = id < STATEMENTS_MAX ? base_copy(sql.data, sql.size) : NULL;
    status = copy != NULL ? CM_OK : CM_BUSY;
    if (copy != NULL) {
      self->statements[self->statement_count++].sql = copy;
    }
  }
  pthread_mutex_unlock(&self->lock);
  if (status == CM_OK) {
    *out_statement = id;
  }
  return status;
}
static cm_status submit(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done, void* user) {
  struct job* job = new_job(instance, JOB_WRITE, caller, done, user);
  if (job == NULL) {
    return CM_BUSY;
  }
  job->work = work;
  return enqueue(job);
}
static cm_status read_rows(void* instance, cm_handle caller, cm_storage_work work, cm_storage_done done, void* user) {
  struct job* job = new_job(instance, JOB_READ, caller, done, user);
  if (job == NULL) {
    return CM_BUSY;
  }
  job->work = work;
  return enqueue(job);
}
static cm_status migrate(void* instance, cm_handle caller, cm_text_pview schema, const cm_migration* migrations,
                         uint32_t count, cm_storage_done done, void* user) {
  struct job* job = count <= MIGRATIONS_MAX ? new_job(instance, JOB_MIGRATE, caller, done, user) : NULL;
  cm_status status = job == NULL ? CM_BUSY : CM_OK;
  if (job != NULL) {
    job->text = base_copy(schema.data, schema.size);
    job->sqls = calloc(count + 1, sizeof *job->sqls);
    status = job->text != NULL && job->sqls != NULL ? CM_OK : CM_BUSY;
  }
  for (uint32_t i = 0; i < count && status == CM_OK; ++i) {
    job->sqls[i] = base_copy(migrations[i].sql.data, migrations[i].sql.size);
    job->sql_count = i + 1;
    status = migrations[i].number != i + 1 ? CM_INVALID : job->sqls[i] == NULL ? CM_BUSY : CM_OK;
  }
  if (status != CM_OK) {
    if (job != NULL) {
      free_job(job);
    }
    return status;
  }
  return enqueue(job);
}
static cm_status backup(void* instance, cm_handle caller, cm_text_pview path, cm_storage_done done, void* user) {
  struct job* job = new_job(instance, JOB_BACKUP, caller, done, user);
  if (job == NULL) {
    return CM_BUSY;
  }
  job->text = base_copy(path.data, path.size);
  return enqueue(job);
}
static cm_text_hview dialect(void* instance, cm_text_pview key) {
  static const char* const words[][2] = {{"now_ms", "CAST(unixepoch('subsec') * 1000 AS INTEGER)"},
                                         {"blob", "BLOB"},
                                         {"autoincrement_key", "INTEGER PRIMARY KEY AUTOINCREMENT"},
                                         {"json", "TEXT"}};
  cm_text_hview view = {"", 0};
  (void)instance;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i) {
    if (base_same(key.data, key.size, words[i][0])) {
      view.data = words[i][1];
      view.size = strlen(view.data);
    }
  }
  return view;
}
static const cm_storage_v1 storage = {sizeof storage, 0,         statement, migrate,
                                      submit,         read_rows, backup,    dialect};

/* --- life --- */

static void release(void* instance) {
  struct {{name}}* self = instance;
  for (uint32_t i = 0; i < self->statement_count; ++i) {
    sqlite3_finalize(self->statements[i].prepared);
    free(self->statements[i].sql);
  }
  sqlite3_close(self->database);
  while (self->applied != NULL) {
    struct applied* applied = self->applied;
    self->applied = applied->next;
    free(applied->schema);
    free(applied->sql);
    free(applied);
  }
}
static cm_status configure(void* instance) {
  struct {{name}}* self = instance;
  if ((self->loop = base_need(&self->base, CM_LOOP_ID, sizeof *self->loop)) == NULL ||
      (self->worker = base_need(&self->base, CM_WORKER_ID, sizeof *self->worker)) == NULL) {
    return CM_DENIED;
  }
  const cm_status status = base_option_int(&self->base, "queue_max", &self->queue_max);
  if (status != CM_OK) {
    return status;
  }
  pthread_mutex_init(&self->lock, NULL);
  if (sqlite3_open(":memory:", &self->database) != SQLITE_OK || !run_sql(self, "PRAGMA foreign_keys = ON")) {
    return base_fail(&self->base, CM_IO, "SQLite gave no database in memory");
  }
  return CM_OK;
}
static cm_status start(void* instance) {
  struct {{name}}* self = instance;
  const cm_status status = self->worker->create_queue(self->base.host->self, base_text("storage"), &self->queue);
  if (status != CM_OK) {
    return base_fail(&self->base, status, "the host gave no worker; raise its limits or lower the load");
  }
  atomic_store(&self->accepting, true);
  return CM_OK;
}
/* Users stop before their provider; what was accepted is finished by the host before destroy. */
static void stop(void* instance) {
  struct {{name}}* self = instance;
  atomic_store(&self->accepting, false);
  if (self->queue != CM_NO_HANDLE) {
    self->worker->close_queue(self->base.host->self, self->queue);
  }
}
static const void* extension(void* instance, const char* id) {
  (void)instance;
  return strcmp(id, CM_STORAGE_ID) == 0 ? &storage : NULL;
}

const struct plugin_kind the_plugin = {
    sizeof(struct {{name}}), configure, start, stop, release, extension, NULL, NULL};
