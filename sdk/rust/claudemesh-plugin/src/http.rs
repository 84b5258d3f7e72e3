//! HTTP both ways: requests that are sent, and listeners with routes.
use crate::ffi::*;
use crate::host::{caught, Host};
use crate::Error;
use std::rc::Rc;

impl Host {
    /// Sends one HTTP request; `done` is called once, unless the instance is stopped before.
    pub fn http_send(
        &self,
        method: &str,
        url: &str,
        body: &str,
        done: impl FnOnce(Result<(u32, String), Error>) + 'static,
    ) {
        let table = match self.need::<cm_http_client_v1>("cm.http.client/1") {
            Ok(table) => table,
            Err(error) => return done(Err(error)),
        };
        let kind = cm_http_header { name: View::text("content-type"), value: View::text("application/json") };
        let call = cm_http_call {
            size: std::mem::size_of::<cm_http_call>() as u32,
            retries: 0,
            method: View::text(method),
            url: View::text(url),
            headers: &kind,
            header_count: 1,
            body: View::text(body),
            connect_timeout_ms: 0,
            total_timeout_ms: 0,
            response_bytes_max: 0,
        };
        let slot: *mut HttpSlot = Box::into_raw(Box::new((*self, Box::new(done))));
        let mut handle = 0;
        let status = unsafe { (table.send)(self.this(), &call, Some(http_done), slot.cast(), &mut handle) };
        if status != CM_OK {
            let (_, done) = *unsafe { Box::from_raw(slot) };
            done(Err(Error::new(status, format!("the host refused the request to {url}"))));
        }
    }

    pub fn listen(&self, address: &str) -> Result<Listener, Error> {
        let table = self.need::<cm_http_server_v1>("cm.http.server/1")?;
        let options = cm_http_listen_options {
            size: std::mem::size_of::<cm_http_listen_options>() as u32,
            unix_mode: 0,
            address: View::text(address),
            tls_cert_file: View::EMPTY,
            tls_key_file: View::EMPTY,
            limits: [0; 5],
        };
        let mut handle = 0;
        match unsafe { (table.listen)(self.this(), &options, &mut handle) } {
            CM_OK => Ok(Listener { host: *self, table, handle, routes: Vec::new() }),
            status => Err(Error::new(status, format!("cannot listen on {address}; the host's log says why"))),
        }
    }
}

type HttpSlot = (Host, Box<dyn FnOnce(Result<(u32, String), Error>)>);
unsafe extern "C" fn http_done(user: User, _call: cm_handle, result: *const cm_http_result) {
    let (host, done) = *Box::from_raw(user.cast::<HttpSlot>());
    let result = &*result;
    let answer = match result.status {
        CM_OK => Ok((result.http_status, result.body.string())),
        status => Err(Error::new(status, result.error.string())),
    };
    caught(host, (), || done(answer));
}

type Handler = Rc<dyn Fn(Request)>;
/// A request that waits for its answer.
pub struct Request {
    host: Host,
    table: &'static cm_http_server_v1,
    handle: cm_handle,
    pub body: String,
}
impl Request {
    pub fn respond_json(self, status: u32, json: &str) {
        let kind = cm_http_header { name: View::text("content-type"), value: View::text("application/json") };
        unsafe { (self.table.respond)(self.host.this(), self.handle, status, &kind, 1, View::text(json)) };
    }
}
struct Route {
    host: Host,
    table: &'static cm_http_server_v1,
    handler: Handler,
}
/// Closes when dropped.
pub struct Listener {
    host: Host,
    table: &'static cm_http_server_v1,
    handle: cm_handle,
    routes: Vec<Box<Route>>,
}
impl Listener {
    pub fn route(&mut self, method: &str, pattern: &str, handler: impl Fn(Request) + 'static) {
        self.routes.push(Box::new(Route { host: self.host, table: self.table, handler: Rc::new(handler) }));
        let user = &**self.routes.last().expect("just pushed") as *const Route as User;
        let handler = Some(request_came as unsafe extern "C" fn(User, cm_handle, *const cm_http_request_info));
        unsafe {
            (self.table.route)(self.host.this(), self.handle, View::text(method), View::text(pattern), handler, user)
        };
    }
    pub fn local_address(&self) -> String {
        let mut address = View::EMPTY;
        unsafe {
            (self.table.local_address)(self.host.this(), self.handle, &mut address);
            address.string()
        }
    }
}
impl Drop for Listener {
    fn drop(&mut self) {
        unsafe { (self.table.close)(self.host.this(), self.handle) };
    }
}
unsafe extern "C" fn request_came(user: User, handle: cm_handle, info: *const cm_http_request_info) {
    let route = &*user.cast::<Route>();
    let handler = route.handler.clone(); // the handler may close the listener
    let request = Request { host: route.host, table: route.table, handle, body: (*info).body.string() };
    let (host, table) = (route.host, route.table);
    let returned = caught(host, false, || {
        handler(request);
        true
    });
    if !returned {
        // Does nothing when the handler had answered.
        (table.respond)(host.this(), handle, 500, std::ptr::null(), 0, View::EMPTY);
    }
}
