//! Panics in the callback that the option `where` names; everything else goes on.
use claudemesh_plugin::{Error, Host, Level, Listener, Plugin, Timer, Which};

struct Panics {
    host: Host,
    place: String,
    listener: Option<Listener>,
    timer: Option<Timer>,
}

fn panic_at(place: &str, wanted: &str) {
    if place == wanted {
        panic!("on purpose in {place}");
    }
}

impl Plugin for Panics {
    fn create(host: Host) -> Self {
        Panics { host, place: String::new(), listener: None, timer: None }
    }
    fn configure(&mut self) -> Result<(), Error> {
        self.place = self.host.option_text("where", Which::Active);
        Ok(())
    }
    fn start(&mut self) -> Result<(), Error> {
        panic_at("start", &self.place);
        let (host, place) = (self.host, self.place.clone());
        host.post(move || panic_at("post", &place));
        let place = self.place.clone();
        self.timer = Some(host.after_ms(1, move || panic_at("timer", &place))?);
        let mut listener = host.listen(&host.option_text("listen", Which::Active))?;
        let place = self.place.clone();
        listener.route("GET", "/", move |request| {
            panic_at("request", &place);
            request.respond_json(200, "{}");
        });
        host.log(Level::Info, &format!("listens on {}", listener.local_address()));
        self.listener = Some(listener);
        Ok(())
    }
    fn stop(&mut self) {
        self.listener = None;
        self.timer = None;
        panic_at("stop", &self.place);
    }
}

claudemesh_plugin::plugin!(Panics);
