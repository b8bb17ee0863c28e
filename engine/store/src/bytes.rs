//! Numbers and texts as bytes, one behind the other. All numbers are little-endian.

use mlp_model::Digest;

use crate::fs::Stamp;

#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn short(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(&digest.0);
    }

    /// Writes a length and the bytes.
    pub fn text(&mut self, text: &[u8]) {
        self.short(u32::try_from(text.len()).expect("a name or path is shorter than 4 GiB"));
        self.0.extend_from_slice(text);
    }

    pub fn stamp(&mut self, stamp: &Stamp) {
        let Stamp { size_bytes, mtime_ns, ctime_ns, inode, device } = *stamp;
        for number in [size_bytes, mtime_ns.cast_unsigned(), ctime_ns.cast_unsigned(), inode, device] {
            self.long(number);
        }
    }

    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Takes from the front; `None` where the bytes do not suffice.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn short(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest)
    }

    pub fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.short()?;
        self.bytes(len as usize)
    }

    pub fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            size_bytes: self.long()?,
            mtime_ns: self.long()?.cast_signed(),
            ctime_ns: self.long()?.cast_signed(),
            inode: self.long()?,
            device: self.long()?,
        })
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            _ => read(self).map(Some),
        }
    }
}
