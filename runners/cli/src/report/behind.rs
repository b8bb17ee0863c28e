//! Writes behind whoever tells: what comes in quick succession goes out together, from a thread of its own. Unaware of
//! what is written.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long bytes wait for more. Nobody who reads along notices.
const GATHER: Duration = Duration::from_millis(20);

/// Everything is written when it is dropped. What cannot be written is lost, and no error.
pub struct Behind {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    is_closed: bool,
}

impl Behind {
    pub fn new(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let to_write = Arc::clone(&shared);
        let thread = thread::Builder::new().name("report".to_owned()).spawn(move || {
            while let Some(bytes) = to_write.next() {
                let _ = out.write_all(&bytes).and_then(|()| out.flush());
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for bytes; `None`: there will be no more.
    fn next(&self) -> Option<Vec<u8>> {
        let is_quiet = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let state = self.changed.wait_while(self.state(), is_quiet).unwrap_or_else(PoisonError::into_inner);
        let gathered = self.changed.wait_timeout_while(state, GATHER, |state| !state.is_closed);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut state.waiting);
        (!bytes.is_empty()).then_some(bytes)
    }
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(bytes);
        drop(state);
        if was_empty {
            self.shared.changed.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its panic has been shown where it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_is_written_in_its_order_once_it_is_dropped() {
        let page = Page::default();
        let mut behind = Behind::new(page.clone()).unwrap();
        for n in 0..1000 {
            writeln!(behind, "{n}").unwrap();
        }
        drop(behind);
        let expected: String = (0..1000).map(|n| format!("{n}\n")).collect();
        assert_eq!(String::from_utf8(page.0.lock().unwrap().clone()).unwrap(), expected);
    }
}
