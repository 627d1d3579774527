//! How far long work has come, told through a trait. Drawing is the business of whoever implements it.

/// Told by libraries, from any thread, often: implementations must be cheap.
pub trait Progress: Send + Sync {
    /// A new phase begins; `total` bytes are expected where that is known.
    fn start(&self, phase: &str, total: Option<u64>);
    /// More bytes of the current phase are done.
    fn advance(&self, bytes: u64);
    /// The expected total of the current phase has changed.
    fn set_total(&self, _total: u64) {}
    /// A measure beside the bytes, e.g. `redo lag` in bytes.
    fn gauge(&self, _name: &'static str, _value: u64) {}
    /// One line worth telling a person who watches.
    fn note(&self, text: &str);
    /// The current phase is done.
    fn finish(&self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _phase: &str, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn finish(&self) {}
}
