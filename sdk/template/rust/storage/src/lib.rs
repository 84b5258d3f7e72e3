//! {{name}}: cm.storage/1 over an SQLite database in memory. One worker runs all works in the order of their arrival, each in
//! a transaction of its own, so reads see everything that was reported done. Memory is as durable as the process.
mod sqlite;

use claudemesh_plugin::ffi::*;
use claudemesh_plugin::{plugin_of, Error, Host, Plugin, Which};
use sqlite::Database;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// What the worker and the callers share.
struct Shared {
    this: cm_handle,
    loop_table: &'static cm_loop_v1,
    statements: Mutex<Vec<String>>,
    database: Mutex<Database>,
    /// By schema; the memory is new at each start, so this is as old as the tables.
    applied: Mutex<HashMap<String, Vec<String>>>,
    waiting: AtomicI64,
    accepting: AtomicBool,
}
struct {{Name}} {
    host: Host,
    shared: Option<Arc<Shared>>,
    worker: Option<&'static cm_worker_v1>,
    queue: cm_handle,
    queue_max: i64,
}
/// One accepted call: runs on the worker, answers on the caller's loop.
struct Job {
    shared: Arc<Shared>,
    caller: cm_handle,
    done: cm_storage_done,
    user: User,
    work: Box<dyn FnOnce(&Shared, &mut Database) -> cm_status>,
}
struct Answer {
    done: cm_storage_done,
    user: User,
    status: cm_status,
    error: String,
}

unsafe extern "C" fn run(user: User) {
    let job = *Box::from_raw(user.cast::<Job>());
    let shared = job.shared.clone();
    let mut answer = Answer { done: job.done, user: job.user, status: CM_INTERNAL, error: String::new() };
    if let Ok(mut database) = shared.database.lock() {
        database.error.clear();
        answer.status = (job.work)(&shared, &mut database);
        answer.error = database.error.clone();
    }
    shared.waiting.fetch_sub(1, Ordering::SeqCst);
    let answer: User = Box::into_raw(Box::new(answer)).cast();
    if (shared.loop_table.post)(shared.this, job.caller, Some(tell), Some(nobody), answer) != CM_OK {
        nobody(answer);
    }
}
unsafe extern "C" fn tell(user: User) {
    let answer = Box::from_raw(user.cast::<Answer>());
    (answer.done)(answer.user, answer.status, View::text(&answer.error));
}
unsafe extern "C" fn nobody(user: User) {
    let answer = Box::from_raw(user.cast::<Answer>());
    (answer.done)(answer.user, CM_GONE, View::EMPTY);
}

impl {{Name}} {
    fn enqueue(&self, caller: cm_handle, done: cm_storage_done, user: User, work: impl FnOnce(&Shared, &mut Database) -> cm_status + 'static) -> cm_status {
        let (shared, worker) = match (&self.shared, self.worker) {
            (Some(shared), Some(worker)) if shared.accepting.load(Ordering::SeqCst) => (shared.clone(), worker),
            _ => return CM_GONE,
        };
        if shared.waiting.fetch_add(1, Ordering::SeqCst) >= self.queue_max {
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
            return CM_BUSY;
        }
        let job = Box::into_raw(Box::new(Job { shared: shared.clone(), caller, done, user, work: Box::new(work) }));
        let status = unsafe { (worker.submit)(self.host.this(), self.queue, Some(run), job.cast()) };
        if status != CM_OK {
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
            drop(unsafe { Box::from_raw(job) });
        }
        status
    }
}

impl Plugin for {{Name}} {
    fn create(host: Host) -> Self {
        {{Name}} { host, shared: None, worker: None, queue: 0, queue_max: 0 }
    }
    fn configure(&mut self) -> Result<(), Error> {
        let loop_table = unsafe { self.host.required::<cm_loop_v1>("cm.loop/1")? };
        self.worker = Some(unsafe { self.host.required::<cm_worker_v1>("cm.worker/1")? });
        self.queue_max = self.host.option_int("queue_max", Which::Active);
        let database = Database::open().ok_or_else(|| Error::new(CM_IO, "SQLite gave no database in memory"))?;
        self.shared = Some(Arc::new(Shared {
            this: self.host.this(),
            loop_table,
            statements: Mutex::default(),
            database: Mutex::new(database),
            applied: Mutex::default(),
            waiting: AtomicI64::new(0),
            accepting: AtomicBool::new(false),
        }));
        Ok(())
    }
    fn start(&mut self) -> Result<(), Error> {
        if let (Some(worker), Some(shared)) = (self.worker, &self.shared) {
            let status = unsafe { (worker.create_queue)(self.host.this(), View::text("storage"), &mut self.queue) };
            if status != CM_OK {
                return Err(Error::new(status, "the host gave no worker; raise its limits or lower the load"));
            }
            shared.accepting.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
    // Users stop before their provider; what was accepted is finished by the host before destroy.
    fn stop(&mut self) {
        if let (Some(worker), Some(shared)) = (self.worker, &self.shared) {
            shared.accepting.store(false, Ordering::SeqCst);
            if self.queue != 0 {
                unsafe { (worker.close_queue)(self.host.this(), self.queue) };
            }
        }
    }
    fn extension(&mut self, id: &str) -> *const c_void {
        if id == "cm.storage/1" {
            (&TABLE as *const cm_storage_v1).cast()
        } else {
            std::ptr::null()
        }
    }
}

// --- what a work may do with the database ---

struct Transaction<'a> {
    shared: &'a Shared,
    database: &'a mut Database,
    may_write: bool,
}
unsafe fn run_sql(raw: User, id: u32, values: *const cm_value, count: u32, row: cm_row_callback, user: User) -> Option<u64> {
    let transaction = &mut *raw.cast::<Transaction>();
    let sql = transaction.shared.statements.lock().ok()?.get(id as usize).cloned()?;
    let values = if count == 0 { &[] } else { std::slice::from_raw_parts(values, count as usize) };
    transaction.database.execute(&sql, transaction.may_write, values, row, user)
}
unsafe extern "C" fn sql_execute(raw: User, id: u32, values: *const cm_value, count: u32, out_changes: *mut u64) -> cm_status {
    match run_sql(raw, id, values, count, None, std::ptr::null_mut()) {
        Some(changes) => {
            if let Some(out) = out_changes.as_mut() {
                *out = changes;
            }
            CM_OK
        }
        None => CM_INVALID,
    }
}
unsafe extern "C" fn sql_query(raw: User, id: u32, values: *const cm_value, count: u32, row: cm_row_callback, user: User) -> cm_status {
    run_sql(raw, id, values, count, row, user).map_or(CM_INVALID, |_| CM_OK)
}
unsafe extern "C" fn sql_last_error(raw: User) -> View {
    View::text(&(*raw.cast::<Transaction>()).database.error)
}
static SQL: cm_storage_sql_v1 =
    cm_storage_sql_v1 { size: std::mem::size_of::<cm_storage_sql_v1>() as u32, reserved: 0, execute: sql_execute, query: sql_query, last_error: sql_last_error };

fn transact(database: &mut Database, work: impl FnOnce(&mut Database) -> cm_status) -> cm_status {
    if !database.run("BEGIN") {
        return CM_IO;
    }
    let mut status = work(database);
    if status == CM_OK && !database.run("COMMIT") {
        status = CM_INVALID;
    }
    if status != CM_OK {
        let reason = std::mem::take(&mut database.error);
        database.run("ROLLBACK");
        database.error = reason;
    }
    status
}
fn apply(applied: &mut Vec<String>, database: &mut Database, files: &[String]) -> cm_status {
    if applied.iter().zip(files).any(|(old, new)| old != new) {
        database.error = String::from("found a migration that has changed since it was applied; expected a new one after it");
        return CM_INVALID;
    }
    for file in files.iter().skip(applied.len()) {
        if transact(database, |database| if database.run(file) { CM_OK } else { CM_INVALID }) != CM_OK {
            return CM_INVALID;
        }
        applied.push(file.clone());
    }
    CM_OK
}

// --- cm.storage/1 ---

unsafe extern "C" fn statement(raw: User, sql: View, out: *mut u32) -> cm_status {
    let plugin = plugin_of::<{{Name}}>(raw);
    let mut statements = match plugin.shared.as_ref().map(|shared| shared.statements.lock()) {
        Some(Ok(statements)) => statements,
        _ => return CM_GONE,
    };
    let sql = sql.string();
    let known = statements.iter().position(|text| *text == sql);
    *out = known.unwrap_or(statements.len()) as u32;
    if known.is_none() {
        statements.push(sql);
    }
    CM_OK
}
unsafe fn work_on(raw: User, caller: cm_handle, may_write: bool, work: cm_storage_work, done: cm_storage_done, user: User) -> cm_status {
    plugin_of::<{{Name}}>(raw).enqueue(caller, done, user, move |shared, database| {
        transact(database, |database| {
            let mut transaction = Transaction { shared, database, may_write };
            work(user, (&mut transaction as *mut Transaction).cast(), &SQL)
        })
    })
}
unsafe extern "C" fn submit(raw: User, caller: cm_handle, work: cm_storage_work, done: cm_storage_done, user: User) -> cm_status {
    work_on(raw, caller, true, work, done, user)
}
unsafe extern "C" fn read(raw: User, caller: cm_handle, work: cm_storage_work, done: cm_storage_done, user: User) -> cm_status {
    work_on(raw, caller, false, work, done, user)
}
unsafe extern "C" fn migrate(raw: User, caller: cm_handle, schema: View, migrations: *const cm_migration, count: u32, done: cm_storage_done, user: User) -> cm_status {
    let migrations = if count == 0 { &[] } else { std::slice::from_raw_parts(migrations, count as usize) };
    if migrations.iter().enumerate().any(|(index, migration)| migration.number as usize != index + 1) {
        return CM_INVALID;
    }
    let files: Vec<String> = migrations.iter().map(|migration| migration.sql.string()).collect();
    let schema = schema.string();
    plugin_of::<{{Name}}>(raw).enqueue(caller, done, user, move |shared, database| match shared.applied.lock() {
        Ok(mut applied) => apply(applied.entry(schema).or_default(), database, &files),
        Err(_) => CM_INTERNAL,
    })
}
unsafe extern "C" fn backup(raw: User, caller: cm_handle, path: View, done: cm_storage_done, user: User) -> cm_status {
    let sql = format!("VACUUM INTO '{}'", path.string().replace('\'', "''"));
    plugin_of::<{{Name}}>(raw).enqueue(caller, done, user, move |_, database| if database.run(&sql) { CM_OK } else { CM_IO })
}
unsafe extern "C" fn dialect(_: User, key: View) -> View {
    View::text(match key.string().as_str() {
        "now_ms" => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        "blob" => "BLOB",
        "autoincrement_key" => "INTEGER PRIMARY KEY AUTOINCREMENT",
        "json" => "TEXT",
        _ => "",
    })
}
static TABLE: cm_storage_v1 =
    cm_storage_v1 { size: std::mem::size_of::<cm_storage_v1>() as u32, reserved: 0, statement, migrate, submit, read, backup, dialect };

claudemesh_plugin::plugin!({{Name}});

#[cfg(test)]
mod tests {
    use super::*;

    fn count(database: &mut Database) -> Option<i64> {
        unsafe extern "C" fn row(user: User, columns: *const cm_value, _: u32) -> bool {
            *user.cast::<i64>() = (*columns).integer;
            true
        }
        let mut counted = -1_i64;
        database.execute("SELECT count(*) FROM things", false, &[], Some(row), (&mut counted as *mut i64).cast())?;
        Some(counted)
    }

    #[test]
    fn a_work_that_fails_is_undone() {
        let mut database = Database::open().unwrap();
        let mut applied = Vec::new();
        let files = [String::from("CREATE TABLE things (n INTEGER NOT NULL)")];
        assert_eq!(apply(&mut applied, &mut database, &files), CM_OK);
        assert_eq!(apply(&mut applied, &mut database, &files), CM_OK); // once
        assert_eq!(apply(&mut applied, &mut database, &[String::from("SELECT 1")]), CM_INVALID);
        let seven = cm_value { kind: 1, reserved: 0, integer: 7, real: 0.0, data: View::EMPTY };
        for (answer, rows) in [(CM_OK, 1), (CM_DENIED, 1)] {
            let status = transact(&mut database, |database| {
                assert_eq!(database.execute("INSERT INTO things VALUES (?)", true, &[seven], None, std::ptr::null_mut()), Some(1));
                answer
            });
            assert_eq!((status, count(&mut database)), (answer, Some(rows)));
        }
        assert_eq!(database.execute("DELETE FROM things", false, &[], None, std::ptr::null_mut()), None); // a reader
        assert_eq!(count(&mut database), Some(1));
    }
}
