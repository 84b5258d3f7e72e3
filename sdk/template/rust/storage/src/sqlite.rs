//! The few functions of libsqlite3 that the storage needs.
use claudemesh_plugin::ffi::{cm_row_callback, cm_value, User, View};
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};

#[link(name = "sqlite3")]
extern "C" {
    fn sqlite3_open(path: *const c_char, out: *mut *mut c_void) -> c_int;
    fn sqlite3_close(db: *mut c_void) -> c_int;
    fn sqlite3_exec(db: *mut c_void, sql: *const c_char, row: *const c_void, user: *const c_void, error: *const c_void) -> c_int;
    fn sqlite3_errmsg(db: *mut c_void) -> *const c_char;
    fn sqlite3_prepare_v2(db: *mut c_void, sql: *const c_char, size: c_int, out: *mut *mut c_void, tail: *const c_void) -> c_int;
    fn sqlite3_step(statement: *mut c_void) -> c_int;
    fn sqlite3_finalize(statement: *mut c_void) -> c_int;
    fn sqlite3_stmt_readonly(statement: *mut c_void) -> c_int;
    fn sqlite3_total_changes(db: *mut c_void) -> c_int;
    fn sqlite3_bind_int64(statement: *mut c_void, at: c_int, value: i64) -> c_int;
    fn sqlite3_bind_double(statement: *mut c_void, at: c_int, value: f64) -> c_int;
    fn sqlite3_bind_text(statement: *mut c_void, at: c_int, data: *const u8, size: c_int, destructor: isize) -> c_int;
    fn sqlite3_bind_blob(statement: *mut c_void, at: c_int, data: *const u8, size: c_int, destructor: isize) -> c_int;
    fn sqlite3_column_count(statement: *mut c_void) -> c_int;
    fn sqlite3_column_type(statement: *mut c_void, at: c_int) -> c_int;
    fn sqlite3_column_int64(statement: *mut c_void, at: c_int) -> i64;
    fn sqlite3_column_double(statement: *mut c_void, at: c_int) -> f64;
    fn sqlite3_column_blob(statement: *mut c_void, at: c_int) -> *const u8;
    fn sqlite3_column_bytes(statement: *mut c_void, at: c_int) -> c_int;
}
const ROW: c_int = 100;
const DONE: c_int = 101;
const TRANSIENT: isize = -1; // SQLite copies

/// A database in memory. One thread at a time.
pub struct Database {
    raw: *mut c_void,
    pub error: String,
}
unsafe impl Send for Database {}
impl Drop for Database {
    fn drop(&mut self) {
        unsafe { sqlite3_close(self.raw) };
    }
}
impl Database {
    pub fn open() -> Option<Database> {
        let mut raw = std::ptr::null_mut();
        let good = unsafe { sqlite3_open(b":memory:\0".as_ptr().cast(), &mut raw) } == 0;
        let mut database = Database { raw, error: String::new() };
        (good && database.run("PRAGMA foreign_keys = ON")).then_some(database)
    }
    fn keep_error(&mut self) {
        self.error = unsafe { CStr::from_ptr(sqlite3_errmsg(self.raw)) }.to_string_lossy().into_owned();
    }
    pub fn run(&mut self, sql: &str) -> bool {
        let null = std::ptr::null();
        let good = CString::new(sql).map_or(false, |sql| unsafe { sqlite3_exec(self.raw, sql.as_ptr(), null, null, null) } == 0);
        if !good {
            self.keep_error();
        }
        good
    }
    /// Runs one statement; how many rows it changed, or None with the reason in `error`.
    pub fn execute(&mut self, sql: &str, may_write: bool, values: &[cm_value], row: cm_row_callback, user: User) -> Option<u64> {
        let mut statement = std::ptr::null_mut();
        unsafe {
            let status = sqlite3_prepare_v2(self.raw, sql.as_ptr().cast(), sql.len() as c_int, &mut statement, std::ptr::null());
            if status != 0 || statement.is_null() {
                self.keep_error();
                return None;
            }
            let before = sqlite3_total_changes(self.raw);
            let allowed = may_write || sqlite3_stmt_readonly(statement) != 0;
            let bound = allowed && values.iter().enumerate().all(|(index, value)| bind(statement, index as c_int + 1, value) == 0);
            let mut step = if bound { sqlite3_step(statement) } else { 0 };
            while step == ROW && row.map_or(true, |row| give_row(statement, row, user)) {
                step = sqlite3_step(statement);
            }
            let good = step == DONE || step == ROW; // the reader has seen enough
            if !allowed {
                self.error = String::from("found a statement that writes; expected a reading one inside of `read`");
            } else if !good {
                self.keep_error();
            }
            sqlite3_finalize(statement);
            good.then(|| (sqlite3_total_changes(self.raw) - before) as u64)
        }
    }
}
unsafe fn bind(statement: *mut c_void, at: c_int, value: &cm_value) -> c_int {
    let bytes = value.data.bytes();
    match value.kind {
        1 => sqlite3_bind_int64(statement, at, value.integer),
        2 => sqlite3_bind_double(statement, at, value.real),
        3 => sqlite3_bind_text(statement, at, bytes.as_ptr(), bytes.len() as c_int, TRANSIENT),
        4 => sqlite3_bind_blob(statement, at, bytes.as_ptr(), bytes.len() as c_int, TRANSIENT),
        _ => 0, // unbound is NULL
    }
}
unsafe fn give_row(statement: *mut c_void, row: unsafe extern "C" fn(User, *const cm_value, u32) -> bool, user: User) -> bool {
    let column = |at| {
        let mut value = cm_value { kind: 0, reserved: 0, integer: 0, real: 0.0, data: View::EMPTY };
        match sqlite3_column_type(statement, at) {
            1 => (value.kind, value.integer) = (1, sqlite3_column_int64(statement, at)),
            2 => (value.kind, value.real) = (2, sqlite3_column_double(statement, at)),
            5 => {}
            kind => {
                value.kind = kind as u32; // text 3, blob 4: the numbers are the same
                value.data = View { data: sqlite3_column_blob(statement, at), size: sqlite3_column_bytes(statement, at) as u64 };
            }
        }
        value
    };
    let columns: Vec<cm_value> = (0..sqlite3_column_count(statement)).map(column).collect();
    row(user, columns.as_ptr(), columns.len() as u32)
}
