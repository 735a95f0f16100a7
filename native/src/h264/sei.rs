//! Supplemental enhancement information (H.264 7.3.2.3): the recovery point, and which x264 made the stream.

const USER_DATA_UNREGISTERED: u32 = 5;
const RECOVERY_POINT: u32 = 6;
/// uuid_iso_iec_11578 before the text of x264.
const UUID_BYTES: usize = 16;

/// What the messages of an SEI RBSP say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// A recovery_point message.
    pub recovery_point: bool,
    /// Build number of x264.
    pub x264_build: Option<u32>,
}

/// Reads the messages of an SEI RBSP.
// H.264 7.3.2.3.1, D.1.7, D.1.8
pub fn read(rbsp: &[u8]) -> Messages {
    let mut messages = Messages::default();
    let mut bytes = rbsp;
    // At least a type, a size and the trailing bits.
    while bytes.len() > 2 {
        let Some(payload_type) = read_ff_coded(&mut bytes) else { break };
        let Some(payload_size) = read_ff_coded(&mut bytes) else { break };
        let payload = &bytes[..bytes.len().min(payload_size as usize)];
        match payload_type {
            RECOVERY_POINT => messages.recovery_point |= !payload.is_empty(),
            USER_DATA_UNREGISTERED => messages.x264_build = messages.x264_build.or(x264_build(payload)),
            _ => {}
        }
        bytes = &bytes[payload.len()..];
    }
    messages
}

/// "x264 - core 148 ..." behind the identifier.
fn x264_build(payload: &[u8]) -> Option<u32> {
    let text = payload.get(UUID_BYTES..)?.strip_prefix(b"x264 - core ")?;
    let digits = text.iter().take(6).take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| 10 * number + u32::from(digit - b'0')))
}

/// A number written as 0xff bytes and a last byte, all summed up.
fn read_ff_coded(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value = value.saturating_add(u32::from(byte));
        if byte != 0xff {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_message_behind_others() {
        let mut rbsp = vec![5, 0xff, 2];
        rbsp.extend([7; 257]);
        assert!(!read(&[&rbsp[..], &[0x80]].concat()).recovery_point);
        rbsp.extend([6, 1, 0xc4, 0x80]);
        assert!(read(&rbsp).recovery_point);
    }

    #[test]
    fn x264_tells_its_build() {
        let text = [&[9; 16][..], b"x264 - core 148 r2601"].concat();
        let rbsp = [&[5, text.len() as u8][..], &text, &[0x80]].concat();
        assert_eq!(read(&rbsp).x264_build, Some(148));
        assert_eq!(read(&rbsp[1..]).x264_build, None);
    }

    #[test]
    fn damaged_messages_end() {
        assert_eq!(read(&[]), Messages::default());
        assert_eq!(read(&[0xff; 1000]), Messages::default());
        assert_eq!(read(&[1, 200, 6, 1, 0xc4]), Messages::default());
    }
}
