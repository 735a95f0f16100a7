//! NAL units: Annex B and length-prefixed splitting, emulation prevention.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How NAL units are delimited inside an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Start codes (H.264 Annex B).
    AnnexB,
    /// A big-endian length of 1 to 4 bytes before every NAL unit (ISO/IEC 14496-15).
    LengthPrefixed(u8),
}

/// Iterates over the NAL units (header byte included, never empty) of `data`.
pub fn split(data: &[u8], framing: Framing) -> impl Iterator<Item = &[u8]> {
    let rest = match framing {
        Framing::AnnexB => find_prefix(data, 0, 1).map_or(&data[data.len()..], |at| &data[at + 3..]),
        Framing::LengthPrefixed(_) => data,
    };
    NalUnits { rest, framing }.filter(|nal| !nal.is_empty())
}

struct NalUnits<'a> {
    rest: &'a [u8],
    framing: Framing,
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        match self.framing {
            Framing::AnnexB => Some(self.next_annex_b()),
            Framing::LengthPrefixed(bytes) => self.next_length_prefixed(usize::from(bytes.clamp(1, 4))),
        }
    }
}

impl<'a> NalUnits<'a> {
    /// `rest` begins right after a start code.
    fn next_annex_b(&mut self) -> &'a [u8] {
        let (nal, rest) = match find_prefix(self.rest, 0, 1) {
            Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        let length = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        &nal[..length]
    }

    /// A length that runs over the end yields what is there: the damage shows in the NAL unit itself.
    fn next_length_prefixed(&mut self, bytes: usize) -> Option<&'a [u8]> {
        if self.rest.len() < bytes {
            return None;
        }
        let (prefix, rest) = self.rest.split_at(bytes);
        let length = prefix.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
        let (nal, rest) = rest.split_at(length.min(rest.len()));
        self.rest = rest;
        Some(nal)
    }
}

/// Position of the first `00 00 third` at or after `from`.
///
/// Words of eight bytes without any zero are skipped as a whole: no match can begin in them.
fn find_prefix(data: &[u8], from: usize, third: u8) -> Option<usize> {
    let mut at = from;
    while at + 10 <= data.len() {
        let word = u64::from_le_bytes(data[at..at + 8].try_into().unwrap_or_default());
        if word.wrapping_sub(ONES) & !word & HIGHS != 0 {
            let found = (at..at + 8).find(|&i| data[i] == 0 && data[i + 1] == 0 && data[i + 2] == third);
            if found.is_some() {
                return found;
            }
        }
        at += 8;
    }
    let tail = data.get(at..)?;
    tail.windows(3).position(|window| window == [0, 0, third]).map(|offset| at + offset)
}

/// Writes the RBSP of `nal` (bytes after its one-byte header, emulation prevention removed) into `rbsp`.
// H.264 7.3.1
pub fn unescape(nal: &[u8], rbsp: &mut Vec<u8>) {
    rbsp.clear();
    let payload = nal.get(1..).unwrap_or_default();
    let (mut copied, mut from) = (0, 0);
    while let Some(at) = find_prefix(payload, from, 3) {
        rbsp.extend_from_slice(&payload[copied..at + 2]);
        copied = at + 3;
        from = copied;
    }
    rbsp.extend_from_slice(&payload[copied..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator: the tests need variety, not quality.
    fn noise(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *state >> 24
        };
        (0..length).map(|_| next(&mut state) as u8 & if seed % 2 == 0 { 3 } else { 0xff }).collect()
    }

    fn escape(rbsp: &[u8]) -> Vec<u8> {
        let mut nal = vec![0x65];
        let mut zeros = 0;
        for &byte in rbsp {
            if zeros >= 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }

    #[test]
    fn search_equals_the_naive_search() {
        for seed in 0..200 {
            let data = noise(seed, 97);
            for from in [0, 1, 50, 96, 97, 120] {
                let naive = (from..data.len().saturating_sub(2)).find(|&i| data[i..i + 3] == [0, 0, 1]);
                assert_eq!(find_prefix(&data, from, 1), naive);
            }
        }
    }

    #[test]
    fn unescape_undoes_escape() {
        let mut rbsp = Vec::new();
        for seed in 0..200 {
            let data = noise(seed, 61);
            unescape(&escape(&data), &mut rbsp);
            assert_eq!(rbsp, data);
        }
    }

    #[test]
    fn both_framings_yield_the_same_nal_units() {
        let nals: Vec<Vec<u8>> =
            (0..20).map(|seed| [escape(&noise(seed, 40)), vec![0x80]].concat()).collect();
        let mut annex_b = vec![0; 3];
        let mut prefixed = Vec::new();
        for (i, nal) in nals.iter().enumerate() {
            annex_b.extend(if i % 2 == 0 { &[0u8, 0, 0, 1][..] } else { &[0, 0, 1] });
            annex_b.extend(nal);
            annex_b.extend(vec![0; i % 3]);
            prefixed.extend((nal.len() as u16).to_be_bytes());
            prefixed.extend(nal);
        }
        assert!(split(&annex_b, Framing::AnnexB).eq(nals.iter().map(Vec::as_slice)));
        assert!(split(&prefixed, Framing::LengthPrefixed(2)).eq(nals.iter().map(Vec::as_slice)));
    }

    #[test]
    fn degenerate_inputs_end() {
        assert_eq!(split(&[], Framing::AnnexB).count(), 0);
        assert_eq!(split(&[0, 0, 1], Framing::AnnexB).count(), 0);
        assert_eq!(split(&[1, 2, 3, 4], Framing::AnnexB).count(), 0);
        assert_eq!(split(&[0, 0, 1, 0, 0, 1, 9], Framing::AnnexB).collect::<Vec<_>>(), [&[9]]);
        assert_eq!(split(&[0, 9, 7], Framing::LengthPrefixed(2)).collect::<Vec<_>>(), [&[7]]);
        assert_eq!(split(&[0, 0, 0, 0], Framing::LengthPrefixed(1)).count(), 0);
        assert_eq!(split(&[1], Framing::LengthPrefixed(4)).count(), 0);
    }
}
