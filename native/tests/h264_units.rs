//! Access units that are not one whole picture: data partitions, redundant slices, single fields; written bit by bit.

use ovbits::{
    h264::stream::Parser,
    nal::Framing,
    picture::{Block, BlockClass},
    unit::{Content, Options, ParsedPicture},
};

const OPTIONS: Options =
    Options { want_energy: true, skip_intra: false, skip_inter: false, every: 1, max_bits_per_kilopixel: 0 };

/// ue(v) as text.
fn ue(value: u32) -> String {
    let code = format!("{:b}", value + 1);
    "0".repeat(code.len() - 1) + &code
}

/// A NAL unit of bits given as text (blanks do not count), with trailing bits and emulation prevention.
fn nal(header: u8, bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').chain([1]).collect();
    let mut unit = vec![0, 0, 1, header];
    let mut zeros = 0;
    for chunk in bits.chunks(8) {
        let byte = chunk.iter().enumerate().fold(0, |byte, (place, bit)| byte | bit << (7 - place));
        if zeros == 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    unit
}

/// Extended profile, 3 x 3 macroblocks (interlaced: 3 x 4), pic_order_cnt_type 0.
fn parameter_sets(interlaced: bool, constrained_intra: bool, redundant: bool) -> Vec<u8> {
    let (rows, kind) = if interlaced { (2, "0 0") } else { (3, "1") };
    let sps = format!(
        "01011000 00000000 00101000 {} {} {} {} {} 0 {} {} {kind} 1 0 0",
        ue(0),
        ue(0),
        ue(0),
        ue(0),
        ue(2),
        ue(2),
        ue(rows - 1)
    );
    let [constrained_intra, redundant] = [constrained_intra, redundant].map(u8::from);
    let pps = format!("1 1 0 0 1 1 1 0 00 1 1 1 0 {constrained_intra} {redundant}");
    [nal(0x67, &sps), nal(0x68, &pps)].concat()
}

/// Header of a P slice that others may refer to; `more` stands before pic_order_cnt_lsb, `after` behind it.
fn header(first_mb: u32, more: &str, after: &str) -> String {
    format!("{} 1 1 0000 {more} 0000 {after} 0 0 0 1", ue(first_mb))
}

fn parse(units: &[&[u8]]) -> Vec<ParsedPicture> {
    let mut parser = Parser::new(u64::MAX);
    units.iter().map(|unit| parser.parse(unit, Framing::AnnexB, OPTIONS).expect("a picture")).collect()
}

fn one(unit: &[u8]) -> ParsedPicture {
    parse(&[unit]).remove(0)
}

/// A macroblock: what goes to partition A, the residual, and whether it is Intra.
struct Macroblock(String, &'static str, bool);

/// Inter with one coefficient; Intra with another; Inter without; by turns.
fn macroblocks() -> Vec<Macroblock> {
    (0..9)
        .map(|index| match index % 3 {
            // mb_skip_run 0, P_L0_16x16, mvd (1, 0), coded_block_pattern 1, mb_qp_delta 0; one level -1, three empty blocks.
            0 => Macroblock(format!("1 1 010 1 {} 1", ue(2)), "01 1 1 1 1 1", false),
            // mb_skip_run 0, I_NxN, sixteen modes, chroma mode 0, coded_block_pattern 1, mb_qp_delta 1.
            1 => Macroblock(format!("1 {} {} 1 {} 010", ue(5), "1".repeat(16), ue(29)), "01 0 1 1 1 1", true),
            // mb_skip_run 0, P_L0_16x16, mvd (0, -1), coded_block_pattern 0.
            _ => Macroblock("1 1 1 011 1".into(), "", false),
        })
        .collect()
}

fn partition(kind: u8) -> Vec<u8> {
    let mine = |macroblock: &&Macroblock| macroblock.2 == (kind == 3);
    let residual: String = macroblocks().iter().filter(mine).map(|macroblock| macroblock.1).collect();
    nal(0x60 | kind, &format!("{} {residual}", ue(0)))
}

fn partition_a() -> Vec<u8> {
    let syntax: String = macroblocks().iter().map(|macroblock| macroblock.0.as_str()).collect();
    nal(0x62, &format!("{} {} {syntax}", header(0, "", ""), ue(0)))
}

fn partitioned(constrained_intra: bool, parts: &[Vec<u8>]) -> ParsedPicture {
    one(&[parameter_sets(false, constrained_intra, false), parts.concat()].concat())
}

fn classes(parsed: &ParsedPicture) -> Vec<u8> {
    parsed.picture.blocks.iter().map(|block| block.class).collect()
}

const UNKNOWN: u8 = BlockClass::Unknown as u8;
const INTER: u8 = BlockClass::Inter as u8;
const INTRA: u8 = BlockClass::Intra as u8;

#[test]
fn partitions_hold_what_one_slice_holds() {
    let whole: String =
        macroblocks().iter().map(|macroblock| format!("{} {}", macroblock.0, macroblock.1)).collect();
    let slice = nal(0x61, &format!("{} {whole}", header(0, "", "")));
    let whole = one(&[parameter_sets(false, false, false), slice].concat());
    assert_eq!((whole.errors, whole.covered), (0, 9), "{:?}", whole.first_error);
    assert!(whole.picture.blocks.iter().filter(|block| block.coefficients == 1).count() == 6);
    let parts = partitioned(false, &[partition_a(), partition(3), partition(4)]);
    assert_eq!(parts.errors, 0, "{:?}", parts.first_error);
    assert_eq!(parts.picture.blocks, whole.picture.blocks);
}

#[test]
fn a_lost_partition_leaves_its_macroblocks_unknown() {
    let row = |kinds: [u8; 3]| kinds.repeat(3);
    let no_c = partitioned(true, &[partition_a(), partition(3)]);
    assert_eq!((classes(&no_c), no_c.errors), (row([UNKNOWN, INTRA, INTER]), 1));
    // Motion is in partition A: what is known is what it would have been.
    let whole = partitioned(true, &[partition_a(), partition(3), partition(4)]);
    let motion = |block: &Block| (block.mv, block.ref_idx);
    assert!(no_c.picture.blocks.iter().zip(&whole.picture.blocks).all(|(a, b)| motion(a) == motion(b)));
    // Without constrained_intra_pred_flag, Intra blocks are read by what their Inter neighbours hold.
    let depends = partitioned(false, &[partition_a(), partition(3)]);
    assert_eq!(classes(&depends), row([UNKNOWN, UNKNOWN, INTER]));
    let no_b = partitioned(true, &[partition_a(), partition(4)]);
    assert_eq!(classes(&no_b)[..3], [INTER, UNKNOWN, INTER]);
    assert_eq!(classes(&no_b)[3..], row([UNKNOWN, UNKNOWN, INTER])[3..]);
    let only_a = partitioned(false, &[partition_a()]);
    assert_eq!(classes(&only_a), row([UNKNOWN, UNKNOWN, INTER]));
}

#[test]
fn a_slice_that_lost_a_partition_takes_no_other_along() {
    // Rows 0 and 1 to 2 as slices of their own.
    let part = |kind: u8, slice: u32| {
        let all = macroblocks();
        let (first_mb, mine) = if slice == 0 { (0, &all[..3]) } else { (3, &all[3..]) };
        if kind == 2 {
            let syntax: String = mine.iter().map(|macroblock| macroblock.0.as_str()).collect();
            return nal(0x62, &format!("{} {} {syntax}", header(first_mb, "", ""), ue(slice)));
        }
        let residual: String =
            mine.iter().filter(|macroblock| macroblock.2 == (kind == 3)).map(|m| m.1).collect();
        nal(0x60 | kind, &format!("{} {residual}", ue(slice)))
    };
    let known = |lost: Option<(u8, u32)>| {
        let all = [(2, 0), (3, 0), (4, 0), (2, 1), (3, 1), (4, 1)];
        let parts: Vec<_> =
            all.iter().filter(|&&one| Some(one) != lost).map(|&(kind, slice)| part(kind, slice)).collect();
        let parsed = partitioned(true, &parts);
        (parsed.covered, parsed.errors)
    };
    assert_eq!(known(None), (9, 0));
    // Without B: the Intra macroblock, and Inter ones that depend on it.
    assert_eq!(known(Some((3, 0))).1, 1);
    assert!(known(Some((3, 0))).0 >= 7);
    assert_eq!(known(Some((4, 0))), (8, 1));
    // B and C of a slice that never began.
    assert_eq!(known(Some((2, 0))), (6, 2));
    assert!(known(Some((3, 1))).0 > 3);
}

#[test]
fn partitions_without_their_slice_are_damage() {
    let skipped = nal(0x61, &format!("{} {}", header(0, "", ""), ue(9)));
    let stray = partitioned(false, &[skipped.clone(), partition(3), partition(4)]);
    assert_eq!((stray.errors, stray.covered), (2, 9));
    let twice = partitioned(false, &[partition_a(), partition(3), partition(3), partition(4)]);
    assert_eq!((twice.errors, twice.covered), (1, 9));
}

#[test]
fn redundant_slices_stand_in_for_lost_ones() {
    let primary = |first, run| nal(0x61, &format!("{} {}", header(first, "", "1"), ue(run)));
    // redundant_pic_cnt 1; the first macroblock moves, so that it can be told from the primary one.
    let redundant = |first, run| nal(0x61, &format!("{} 1 1 010 1 1 {}", header(first, "", "010"), ue(run)));
    let sets = parameter_sets(false, false, true);
    let moving = |parsed: &ParsedPicture| {
        let blocks = parsed.picture.blocks.iter().enumerate();
        blocks.filter(|(_, block)| block.class == INTER).map(|(address, _)| address).collect::<Vec<_>>()
    };
    let intact = one(&[&sets[..], &primary(0, 3), &primary(3, 6), &redundant(3, 5)].concat());
    assert_eq!((intact.covered, moving(&intact)), (9, vec![]));
    let mended = one(&[&sets[..], &primary(0, 3), &redundant(0, 2), &redundant(3, 5)].concat());
    assert_eq!((mended.covered, mended.errors, moving(&mended)), (9, 0, vec![3]));
    let lost = one(&[&sets[..], &primary(0, 3)].concat());
    assert_eq!(lost.covered, 3);
}

#[test]
fn fields_come_in_one_access_unit_or_in_two() {
    let sets = parameter_sets(true, false, false);
    // field_pic_flag 1, bottom_field_flag; six macroblocks, the first of which moves.
    let field = |bottom: bool| {
        let parity = if bottom { "1 1" } else { "1 0" };
        let mvd = if bottom { "010" } else { "011" };
        nal(0x61, &format!("{} 1 1 {mvd} 1 1 {}", header(0, parity, ""), ue(5)))
    };
    let first = [&sets[..], &field(false)].concat();
    let together = one(&[&first[..], &field(true)].concat());
    assert_eq!((together.content, together.covered), (Content::Fields, 12));
    let apart = parse(&[&first, &field(true)]);
    assert_eq!((apart[0].content, apart[0].covered), (Content::TopField, 6));
    assert_eq!((apart[1].content, apart[1].covered), (Content::SecondField, 12));
    assert_eq!(apart[1].picture.blocks, together.picture.blocks);
    assert_eq!(apart[1].missing_references, together.missing_references);
    // The second field of the frame before was lost.
    let alone = parse(&[&first, &field(false)]);
    assert_eq!((alone[1].content, alone[1].covered), (Content::TopField, 6));
    assert!(classes(&alone[1]).chunks(3).skip(1).step_by(2).flatten().all(|class| *class == UNKNOWN));
}
