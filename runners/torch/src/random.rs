//! Random numbers that are the same on every machine and in every version: BLAKE3 as a stream.

use blake3::OutputReader;

/// An endless stream of numbers, fixed by its seed, purpose and number.
pub struct Stream {
    reader: OutputReader,
    bytes: [u8; 1024],
    used: usize,
}

impl Stream {
    /// `number` tells streams of one purpose apart: an epoch, a layer.
    pub fn new(seed: i64, purpose: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("mlp torch random 1");
        hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(purpose.as_bytes());
        Self { reader: hasher.finalize_xof(), bytes: [0; 1024], used: 1024 }
    }

    pub fn next_u64(&mut self) -> u64 {
        if self.used == self.bytes.len() {
            self.reader.fill(&mut self.bytes);
            self.used = 0;
        }
        let next = self.bytes[self.used..].first_chunk().expect("1024 is a multiple of 8");
        self.used += 8;
        u64::from_le_bytes(*next)
    }

    /// Returns a number in `0..1`, a multiple of 2^-24.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }

    /// Returns the numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        for i in (1..n).rev() {
            let j = (u128::from(self.next_u64()) * (i as u128 + 1)) >> 64;
            order.swap(i, j as usize);
        }
        order
    }
}
