//! `systemctl` for one test server: a script asks, a thread of the test starts or stops the server. The server stays
//! in the test's hands, and dies with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::server::Server;

#[derive(Debug)]
pub struct Service {
    server: Arc<Mutex<Server>>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    systemctl: String,
}

impl Service {
    /// Serves what is asked through files in `dir`.
    pub fn new(server: Server, dir: &Path) -> Result<Service> {
        let server = Arc::new(Mutex::new(server));
        let done = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("service".to_owned()).spawn({
            let (server, done, dir) = (Arc::clone(&server), Arc::clone(&done), dir.to_owned());
            move || {
                while !done.load(Ordering::Acquire) {
                    for request in requests(&dir) {
                        answer(&request, &mut lock(&server));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        })?;
        let systemctl = SYSTEMCTL.replace("DIR", &dir.display().to_string());
        Ok(Service { server, done, thread: Some(thread), systemctl })
    }

    pub fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    /// The script that asks. It ends when that is done, with 0 when it went well.
    pub fn systemctl(&self) -> &str {
        &self.systemctl
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

const SYSTEMCTL: &str = r#"request=DIR/$$
case ${2:-} in
mariadb|mariadb.service|mysql|mysql.service) ;;
*) echo "systemctl: no unit $*" >&2; exit 5 ;;
esac
echo "$1" > "$request.new"
mv "$request.new" "$request.ask"
while [ ! -e "$request.code" ]; do sleep 0.05; done
cat "$request.said" >&2
exit "$(cat "$request.code")""#;

fn requests(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "ask")).collect()
}

fn answer(request: &Path, server: &mut Server) {
    let verb = fs::read_to_string(request).unwrap_or_default();
    let (code, said) = match serve(verb.trim(), server) {
        Ok(code) => (code, String::new()),
        Err(error) => (1, format!("{error:#}\n")),
    };
    let _ = fs::remove_file(request);
    let _ = fs::write(request.with_extension("said"), said);
    // The script looks for this one: it must be whole when it is there.
    let unfinished = request.with_extension("unfinished");
    let _ = fs::write(&unfinished, code.to_string());
    let _ = fs::rename(&unfinished, request.with_extension("code"));
}

fn serve(verb: &str, server: &mut Server) -> Result<i32> {
    match verb {
        "start" if server.is_running() => {}
        "start" => server.start()?,
        "stop" => server.stop()?,
        "restart" => server.restart()?,
        "is-active" => return Ok(if server.is_running() { 0 } else { 3 }),
        _ => bail!("systemctl: {verb} is not understood here"),
    }
    Ok(0)
}
