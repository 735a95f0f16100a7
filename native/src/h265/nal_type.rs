//! NAL unit header and the kinds of pictures (H.265 7.3.1.2, Table 7-1).

use crate::error::{Error, Result};

/// nal_unit_header()
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NalHeader {
    /// 0..=63
    pub nal_unit_type: u8,
    /// 0 is the base layer.
    pub nuh_layer_id: u8,
    /// TemporalId
    pub temporal_id: u8,
}

impl NalHeader {
    /// Reads the two bytes of a NAL unit header.
    pub fn parse(nal: &[u8]) -> Result<Self> {
        let &[first, second, ..] = nal else { return Err(Error::invalid("nal_unit_header", 0)) };
        if first & 0x80 != 0 {
            return Err(Error::invalid("forbidden_zero_bit", 0));
        }
        let nuh_temporal_id_plus1 = second & 7;
        if nuh_temporal_id_plus1 == 0 {
            return Err(Error::invalid("nuh_temporal_id_plus1", 0));
        }
        Ok(Self {
            nal_unit_type: first >> 1,
            nuh_layer_id: (first & 1) << 5 | second >> 3,
            temporal_id: nuh_temporal_id_plus1 - 1,
        })
    }

    /// A slice segment of a type that the specification defines.
    pub fn is_slice(self) -> bool {
        matches!(self.nal_unit_type, 0..=9 | 16..=21)
    }

    /// Instantaneous decoding refresh.
    pub fn is_idr(self) -> bool {
        matches!(self.nal_unit_type, 19 | 20)
    }

    /// Broken link access.
    pub fn is_bla(self) -> bool {
        matches!(self.nal_unit_type, 16..=18)
    }

    /// Intra random access point: a decoder can start here.
    pub fn is_irap(self) -> bool {
        matches!(self.nal_unit_type, 16..=23)
    }

    /// Skipped or decodable leading picture.
    pub fn is_leading(self) -> bool {
        matches!(self.nal_unit_type, 6..=9)
    }

    /// Skipped leading picture: it may refer to pictures before its random access point.
    pub fn is_rasl(self) -> bool {
        matches!(self.nal_unit_type, 8 | 9)
    }

    /// No picture of the same sub-layer refers to it.
    pub fn is_sub_layer_non_reference(self) -> bool {
        matches!(self.nal_unit_type, 0 | 2 | 4 | 6 | 8 | 10 | 12 | 14)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_table_7_1() {
        let header = |first: u8, second: u8| NalHeader::parse(&[first, second]);
        let idr = header(19 << 1, 1).unwrap();
        assert!(idr.is_slice() && idr.is_idr() && idr.is_irap() && !idr.is_sub_layer_non_reference());
        let rasl = header(8 << 1, 2).unwrap();
        assert!(rasl.is_leading() && rasl.is_rasl() && rasl.is_sub_layer_non_reference() && !rasl.is_irap());
        assert_eq!((rasl.temporal_id, rasl.nuh_layer_id), (1, 0));
        assert_eq!(header(1, 0x0a).unwrap().nuh_layer_id, 33);
        assert!(header(0x80, 1).is_err() && header(2, 0).is_err() && NalHeader::parse(&[2]).is_err());
    }
}
