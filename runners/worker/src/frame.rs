//! Frames on a byte stream: a `u32` little-endian length, then that many bytes of JSON. Unaware of what they say.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No frame is longer. Large enough for any parameters, small enough that a stray byte cannot ask for all memory.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

const HEADER_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message of {size_bytes} bytes is over the limit of {MAX_FRAME_BYTES} bytes")]
    TooLarge { size_bytes: usize },
    #[error("a message is not what the protocol says: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Returns the bytes of one frame.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let size_bytes = frame.len() - HEADER_BYTES;
    match u32::try_from(size_bytes) {
        Ok(length) if size_bytes <= MAX_FRAME_BYTES => frame[..HEADER_BYTES].copy_from_slice(&length.to_le_bytes()),
        _ => return Err(FrameError::TooLarge { size_bytes }),
    }
    Ok(frame)
}

/// Cuts a byte stream into messages, however the bytes arrive.
#[derive(Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next message, or `None` while it is incomplete.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((header, rest)) = self.bytes[self.start..].split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let size_bytes = u32::from_le_bytes(*header) as usize;
        if size_bytes > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge { size_bytes });
        }
        let Some(payload) = rest.get(..size_bytes) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(payload)?;
        self.start += HEADER_BYTES + size_bytes;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cutting_of_the_stream() {
        let messages = ["", "a", "grüße", &"x".repeat(300)].map(str::to_owned);
        let stream: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        for piece_bytes in [1, 2, 3, 5, 64, stream.len()] {
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for piece in stream.chunks(piece_bytes) {
                decoder.push(piece);
                while let Some(message) = decoder.next::<String>().unwrap() {
                    received.push(message);
                }
            }
            assert_eq!(received, messages, "pieces of {piece_bytes} bytes");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.next::<String>(), Err(FrameError::TooLarge { .. })));
        assert!(matches!(encode(&"x".repeat(MAX_FRAME_BYTES)), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn floats_arrive_bit_by_bit() {
        let mut decoder = Decoder::default();
        let mut state = 7_u64;
        for _ in 0..10_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let sent = f64::from_bits(state);
            if sent.is_finite() {
                decoder.push(&encode(&sent).unwrap());
                assert_eq!(decoder.next::<f64>().unwrap().map(f64::to_bits), Some(sent.to_bits()));
            }
        }
    }
}
