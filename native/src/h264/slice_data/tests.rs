use super::*;
use crate::{
    h264::slice_groups::SliceGroups,
    picture::{flags, RefEntry},
};

const COLUMNS: usize = 5;
const MACROBLOCKS: usize = 20;

/// Everything that a slice is parsed against, for a picture of 5 x 4 macroblocks.
#[derive(Clone, Default)]
struct Setup {
    sps: Sps,
    pps: Pps,
    header: SliceHeader,
    refs: SliceRefs,
    slice_index: u16,
}

impl Setup {
    fn new(slice_type: SliceType, cabac: bool) -> Self {
        let entry =
            |id: u32, poc| RefEntry { id: Some(id), poc, long_term: false, structure: Structure::Frame };
        let mut setup = Self::default();
        setup.sps.chroma_format_idc = 1;
        setup.header.slice_type = slice_type;
        setup.pps.entropy_coding_mode_flag = cabac;
        setup.pps.scaling_list_4x4 = [[16; 16]; 6];
        setup.refs.lists = [vec![entry(1, 0), entry(2, 4)], vec![entry(2, 4), entry(1, 0)]];
        setup
    }

    fn parse(&self, rbsp: &[u8], colocated: Option<&Picture>, picture: &mut Picture) -> Result<u32> {
        let fields = FieldRefs {
            refs: [self.refs.clone(), self.refs.clone()],
            colocated: [colocated; 2],
            ..FieldRefs::default()
        };
        let input = SliceInput {
            rbsp,
            sps: &self.sps,
            pps: &self.pps,
            header: &self.header,
            slice_index: self.slice_index,
            refs: &self.refs,
            colocated,
            fields: self.header.mbaff_frame_flag.then_some(&fields),
            partitions: None,
            old_x264: false,
            want_energy: true,
        };
        parse_slice_data(&input, &mut Scratch::default(), picture, ())
    }
}

fn empty_picture(setup: &Setup) -> Picture {
    Picture {
        id: 3,
        mb_cols: COLUMNS,
        mb_rows: MACROBLOCKS / COLUMNS,
        poc: 2,
        structure: Structure::Frame,
        motion_known: true,
        mbaff: false,
        blocks: vec![Block::default(); MACROBLOCKS],
        splits: Vec::new(),
        macroblocks_read: 0,
        slice_refs: vec![setup.refs.clone()],
    }
}

/// Bits of a CAVLC slice with rbsp_stop_one_bit, as bytes.
fn bytes(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').chain([1]).collect();
    bits.chunks(8)
        .map(|chunk| chunk.iter().enumerate().fold(0, |byte, (i, bit)| byte | bit << (7 - i)))
        .collect()
}

/// ue(v) as bits.
fn ue(value: usize) -> String {
    let code = format!("{:b}", value + 1);
    "0".repeat(code.len() - 1) + &code
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn a_skip_run_covers_the_picture_without_motion() {
    let setup = Setup::new(SliceType::P, false);
    let mut picture = empty_picture(&setup);
    // mb_skip_run 20: codeNum + 1 = 21.
    assert_eq!(setup.parse(&bytes("000010101"), None, &mut picture), Ok(20));
    for (index, block) in picture.blocks.iter().enumerate() {
        let skipped = Block {
            class: BlockClass::Skip as u8,
            ref_idx: [0, -1],
            qp: 26,
            bit_cost: if index == 0 { 9 } else { 0 },
            ..Block::default()
        };
        assert_eq!(*block, skipped);
    }
}

#[test]
fn slices_of_all_groups_cover_the_picture_once() {
    let changing =
        |slice_group_map_type| SliceGroups::Changing { slice_group_map_type, reverse: false, rate: 3 };
    let all = [
        SliceGroups::Interleaved { run_length_minus1: vec![2, 0, 1] },
        SliceGroups::Dispersed { groups: 3 },
        SliceGroups::Foreground { rectangles: vec![[6, 13]] },
        changing(3),
        changing(4),
        changing(5),
        SliceGroups::Explicit { slice_group_id: (0..20).map(|i| i * 7 % 3).collect() },
    ];
    for groups in all {
        let mut setup = Setup::new(SliceType::P, false);
        setup.sps.pic_width_in_mbs_minus1 = COLUMNS as u16 - 1;
        setup.sps.pic_height_in_map_units_minus1 = 3;
        setup.sps.frame_mbs_only_flag = true;
        setup.header.slice_group_change_cycle = 2;
        let map = groups.map(COLUMNS, 4, 2);
        setup.pps.slice_groups = Some(groups);
        let mut picture = empty_picture(&setup);
        for group in 0..=*map.iter().max().unwrap() {
            let members = map.iter().filter(|&&other| other == group).count();
            setup.header.first_mb_in_slice = map.iter().position(|&other| other == group).unwrap() as u32;
            // mb_skip_run up to the last macroblock, which is P_L0_16x16 with mvd (1, -1) and no residual.
            let run = ue(members - 1);
            let slice = format!("{run} 1 010 011 1");
            assert_eq!(setup.parse(&bytes(&slice), None, &mut picture), Ok(members as u32));
            assert!(setup.parse(&bytes(&ue(members + 1)), None, &mut empty_picture(&setup)).is_err());
        }
        assert_eq!(picture.covered(), MACROBLOCKS);
    }
}

#[test]
fn slice_groups_of_fields_and_of_pairs() {
    let mut setup = Setup::new(SliceType::P, false);
    setup.sps.pic_width_in_mbs_minus1 = COLUMNS as u16 - 1;
    setup.sps.pic_height_in_map_units_minus1 = 1;
    setup.pps.slice_groups = Some(SliceGroups::Dispersed { groups: 2 });
    // 0 1 0 1 0 above 1 0 1 0 1: five map units each.
    let mut field = Setup { header: setup.header.clone(), ..setup.clone() };
    field.header.structure = Structure::Bottom;
    let mut picture = empty_picture(&field);
    (picture.mb_rows, picture.structure) = (2, Structure::Bottom);
    picture.blocks.truncate(2 * COLUMNS);
    for group in 0..2 {
        (field.header.first_mb_in_slice, field.slice_index) = (group, group as u16);
        assert_eq!(field.parse(&bytes(&ue(5)), None, &mut picture), Ok(5));
    }
    assert_eq!(picture.covered(), 10);

    let mut picture = empty_picture(&setup);
    picture.mbaff = true;
    setup.header.mbaff_frame_flag = true;
    // Field pairs: mb_skip_run 1, mb_field_decoding_flag, P_L0_16x16, ref_idx, mvd, coded_block_pattern.
    let fields = "010 1 1 1 1 1 1".repeat(5);
    for (group, slice) in [fields, ue(10)].iter().enumerate() {
        (setup.header.first_mb_in_slice, setup.slice_index) = (group as u32, group as u16);
        assert_eq!(setup.parse(&bytes(slice), None, &mut picture), Ok(10));
    }
    assert_eq!(picture.covered(), MACROBLOCKS);
    // Skipped pairs are field pairs where neighbours of their own slice are; these have none.
    assert!(picture.blocks.iter().all(|block| (block.flags & flags::FIELD != 0) == (block.slice == 0)));
}

#[test]
fn still_runs_end_where_the_single_flags_say() {
    let mut seed = 11;
    for round in 0..3000 {
        let mut setup = Setup::new(SliceType::P, true);
        setup.header.first_mb_in_slice = random(&mut seed) as u32 % 9;
        // Low bytes: long runs of the more probable symbol.
        let mask = [0, 1, 15, 255][round % 4];
        let rbsp: Vec<u8> = (0..40)
            .map(|_| if random(&mut seed) % 8 == 0 { random(&mut seed) as u8 & mask } else { 0 })
            .collect();
        let rbsp = [rbsp, vec![0x80]].concat();
        let mut picture = empty_picture(&setup);
        let result = setup.parse(&rbsp, None, &mut picture);
        let first = setup.header.first_mb_in_slice as usize;
        let still = |block: &&Block| block.class == BlockClass::Skip as u8 && block.mv[0] == [0, 0];
        let mut engine = Engine::new(&rbsp, 0);
        let mut contexts = init_contexts(1, 26, false);
        // Flag by flag, as far as everything is skipped.
        let mut count = 0;
        let mut position = engine.position();
        while first + count < MACROBLOCKS && engine.decision(&mut contexts, P_SKIP_CONTEXT) {
            let block = &picture.blocks[first + count];
            if engine.position() > 8 * 40 + 1 {
                break;
            }
            assert!(still(&block), "round {round} macroblock {count}: {block:?}");
            assert_eq!(u64::from(block.bit_cost), engine.position() - position, "round {round}");
            position = engine.position();
            count += 1;
            if engine.terminate() {
                break;
            }
        }
        if first + count < MACROBLOCKS {
            assert!(result.is_err() || picture.blocks[first + count].class != BlockClass::Skip as u8);
        }
    }
}

#[test]
fn a_skip_run_beyond_the_picture_is_invalid() {
    let setup = Setup::new(SliceType::P, false);
    let error = setup.parse(&bytes("000010110"), None, &mut empty_picture(&setup)).unwrap_err();
    assert_eq!(error.element, "mb_skip_run");
}

#[test]
fn motion_vector_differences_add_to_the_prediction() {
    let setup = Setup::new(SliceType::P, false);
    let mut picture = empty_picture(&setup);
    // Twice: mb_skip_run 0, P_L0_16x16, mvd (1, -1), coded_block_pattern 0 (codeNum 0); then 18 skipped.
    let slice = "1 1 010 011 1  1 1 010 011 1  000010011";
    assert_eq!(setup.parse(&bytes(slice), None, &mut picture), Ok(20));
    let first: Vec<_> = picture.blocks[..3].iter().map(|block| (block.mv[0], block.bit_cost)).collect();
    // The second is predicted from its only neighbour A; skipped ones in the first row stand still.
    assert_eq!(first, [([1, -1], 9), ([2, -2], 9), ([0, 0], 9)]);
}

#[test]
fn i_pcm_is_aligned_and_leaves_the_quantiser() {
    let mut setup = Setup::new(SliceType::I, false);
    setup.header.first_mb_in_slice = 19;
    let mut picture = empty_picture(&setup);
    // mb_type 25, then alignment.
    let mut rbsp = vec![0b0000_1101, 0b0000_0000];
    rbsp.extend([7; 384]);
    rbsp.push(0x80);
    assert_eq!(setup.parse(&rbsp, None, &mut picture), Ok(1));
    let block = picture.blocks[19];
    assert_eq!((block.class, block.bit_cost, block.ref_idx), (BlockClass::Pcm as u8, 386 * 8, [-1; 2]));
    assert!(picture.blocks[..19].iter().all(|block| *block == Block::default()));
}

#[test]
fn a_truncated_slice_is_invalid_and_keeps_what_was_parsed() {
    let setup = Setup::new(SliceType::P, false);
    let mut picture = empty_picture(&setup);
    assert!(setup.parse(&bytes("011 1 010 0000001"), None, &mut picture).is_err());
    let known = picture.blocks.iter().filter(|block| block.class != BlockClass::Unknown as u8).count();
    assert_eq!(known, 2);
}

#[test]
fn any_bytes_give_a_result_or_an_error() {
    let mut seed = 7;
    let mut colocated: Option<Picture> = None;
    for round in 0..6000_u32 {
        let slice_type = [SliceType::P, SliceType::B, SliceType::I][round as usize % 3];
        let mut setup = Setup::new(slice_type, round / 3 % 2 == 0);
        setup.pps.transform_8x8_mode_flag = random(&mut seed) % 2 == 0;
        setup.sps.direct_8x8_inference_flag = random(&mut seed) % 2 == 0;
        setup.sps.chroma_format_idc = random(&mut seed) as u8 % 4;
        setup.sps.bit_depth_luma_minus8 = random(&mut seed) as u8 % 7;
        setup.sps.bit_depth_chroma_minus8 = random(&mut seed) as u8 % 7;
        setup.header.direct_spatial_mv_pred_flag = random(&mut seed) % 2 == 0;
        setup.header.num_ref_idx_active_minus1 = [random(&mut seed) as u8 % 32, random(&mut seed) as u8 % 2];
        setup.header.first_mb_in_slice = random(&mut seed) as u32 % 24;
        setup.header.slice_qp_delta = random(&mut seed) as i8 % 30;
        setup.header.cabac_init_idc = random(&mut seed) as u8 % 3;
        setup.header.slice_data_bit_offset = random(&mut seed) as usize % 20;
        let length = random(&mut seed) % 900;
        let density = random(&mut seed) % 3;
        let rbsp: Vec<u8> = (0..length)
            .map(|_| random(&mut seed) as u8 & if density == 0 { random(&mut seed) as u8 } else { 255 })
            .collect();
        let mut picture = empty_picture(&setup);
        picture.mbaff = random(&mut seed) % 3 == 0;
        setup.header.mbaff_frame_flag = picture.mbaff;
        let result = setup.parse(&rbsp, colocated.as_ref(), &mut picture);
        check(&picture);
        if picture.mbaff {
            assert!(result.as_ref().map_or(true, |&count| picture.covered() == count as usize));
        } else if let Ok(count) = result {
            let first = setup.header.first_mb_in_slice as usize;
            assert!(picture.blocks[first..][..count as usize].iter().all(|block| block.class != 0));
        }
        // Parsing it again changes nothing but the identity of records.
        let splits = picture.splits.len();
        let again = setup.parse(&rbsp, colocated.as_ref(), &mut picture);
        assert_eq!((again, picture.splits.len()), (result, splits));
        colocated = Some(picture);
    }
}

fn check(picture: &Picture) {
    let split = |block: &&Block| block.flags & flags::SPLIT != 0;
    assert_eq!(picture.blocks.iter().filter(split).count(), picture.splits.len());
    for block in &picture.blocks {
        assert!((-36..=51).contains(&block.qp) && block.residual_energy >= 0.0);
        assert!(block.flags & flags::SPLIT == 0 || (block.split as usize) < picture.splits.len());
        let inter = block.class == BlockClass::Skip as u8 || block.class == BlockClass::Inter as u8;
        let used = block.class != BlockClass::Unknown as u8 && block.ref_idx.iter().any(|r| *r >= 0);
        assert!(inter == used || block.flags & flags::SPLIT != 0);
    }
}
