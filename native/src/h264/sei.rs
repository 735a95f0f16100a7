//! Supplemental enhancement information (H.264 7.3.2.3): only the recovery point matters here.

const RECOVERY_POINT: u32 = 6;

/// Whether the SEI RBSP holds a recovery_point message.
// H.264 7.3.2.3.1, D.1.8
pub fn has_recovery_point(rbsp: &[u8]) -> bool {
    let mut bytes = rbsp;
    // At least a type, a size and the trailing bits.
    while bytes.len() > 2 {
        let Some(payload_type) = read_ff_coded(&mut bytes) else { return false };
        let Some(payload_size) = read_ff_coded(&mut bytes) else { return false };
        if payload_type == RECOVERY_POINT && payload_size > 0 && !bytes.is_empty() {
            return true;
        }
        bytes = bytes.get(payload_size as usize..).unwrap_or_default();
    }
    false
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
        assert!(!has_recovery_point(&[&rbsp[..], &[0x80]].concat()));
        rbsp.extend([6, 1, 0xc4, 0x80]);
        assert!(has_recovery_point(&rbsp));
    }

    #[test]
    fn damaged_messages_end() {
        assert!(!has_recovery_point(&[]));
        assert!(!has_recovery_point(&[0xff; 1000]));
        assert!(!has_recovery_point(&[1, 200, 6, 1, 0xc4]));
    }
}
