use reseed_innodb::bytes::{be2, put};

/// What keeps a change from being applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad(pub &'static str);

const OUTSIDE: Bad = Bad("a place outside the page");

/// A page whose every access is checked, since the places come from disk.
pub(super) struct Page<'a>(pub &'a mut [u8]);

impl Page<'_> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub fn byte(&self, at: usize) -> Result<u8, Bad> {
        self.0.get(at).copied().ok_or(OUTSIDE)
    }

    #[inline]
    pub fn word(&self, at: usize) -> Result<usize, Bad> {
        be2(self.0, at).map(usize::from).ok_or(OUTSIDE)
    }

    #[inline]
    pub fn bytes(&self, from: usize, to: usize) -> Result<&[u8], Bad> {
        self.0.get(from..to).ok_or(OUTSIDE)
    }

    #[inline]
    pub fn set_byte(&mut self, at: usize, value: u8) -> Result<(), Bad> {
        *self.0.get_mut(at).ok_or(OUTSIDE)? = value;
        Ok(())
    }

    /// Stores the low 16 bits: offsets and their differences are counted modulo 65536.
    #[inline]
    pub fn set_word(&mut self, at: usize, value: usize) -> Result<(), Bad> {
        self.put(at, &(value as u16).to_be_bytes())
    }

    #[inline]
    pub fn put(&mut self, at: usize, bytes: &[u8]) -> Result<(), Bad> {
        if put(self.0, at, bytes) { Ok(()) } else { Err(OUTSIDE) }
    }

    pub fn zero(&mut self, from: usize, to: usize) -> Result<(), Bad> {
        self.0.get_mut(from..to).ok_or(OUTSIDE)?.fill(0);
        Ok(())
    }

    pub fn move_within(&mut self, from: usize, to: usize, target: usize) -> Result<(), Bad> {
        let length = to.checked_sub(from).ok_or(OUTSIDE)?;
        if to > self.0.len() || target.checked_add(length).is_none_or(|end| end > self.0.len()) {
            return Err(OUTSIDE);
        }
        self.0.copy_within(from..to, target);
        Ok(())
    }
}
