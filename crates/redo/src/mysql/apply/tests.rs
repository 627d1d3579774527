use proptest::prelude::*;

use super::super::codec::put_compressed;
use super::super::record_type::ALL;
use super::image::{GARBAGE, N_RECS};
use super::zip::compress;
use super::*;

const ID: PageId = PageId { space: reseed_terms::SpaceId(5), page: reseed_terms::PageNo(3) };

/// A clustered index: INT, the hidden columns, a nullable VARCHAR that may be long.
const INDEX: &[u8] = &[1, 1, 0, 4, 0, 1, 0x80, 4, 0x80, 6, 0x80, 7, 0x7f, 0xff];

fn record(kind: RecordType, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind as u8, 5, 3];
    bytes.extend_from_slice(body);
    bytes
}

fn indexed(kind: RecordType, body: &[u8]) -> Vec<u8> {
    record(kind, &[INDEX, body].concat())
}

/// A whole row with key `key` and `len` bytes of text, after `cursor`.
fn insert(cursor: u16, key: u32, len: u8) -> Vec<u8> {
    let mut row = vec![len, 0, 0, 0, 0, 0, 0];
    let origin = row.len() as u32;
    row.extend(key.to_be_bytes());
    row.extend([1; 13]);
    row.extend(vec![b'x'; len.into()]);
    let mut body = cursor.to_be_bytes().to_vec();
    put_compressed(&mut body, (row.len() as u32) << 1 | 1);
    body.push(0);
    put_compressed(&mut body, origin);
    put_compressed(&mut body, 0);
    body.extend(row);
    indexed(RecordType::REC_INSERT, &body)
}

fn create() -> Vec<u8> {
    [record(RecordType::INIT_FILE_PAGE2, &[]), record(RecordType::PAGE_CREATE_COMPACT, &[])].concat()
}

fn applied(page: &mut [u8], zip: Option<PageSize>, records: &[Vec<u8>]) -> Result<Applied, MysqlError> {
    let mut applier = MysqlApplier::new(PageSize::new(4096).unwrap());
    let changes = records.iter().enumerate().map(|(n, bytes)| {
        let kind =
            if bytes[0] == RecordType::INIT_FILE_PAGE2 as u8 { ChangeKind::Init } else { ChangeKind::Delta };
        (Lsn(8204 + n as u64 * 100), Lsn(8304 + n as u64 * 100), kind, bytes.as_slice())
    });
    applier.apply(ID, zip, page, changes)
}

/// Keys of the page's rows, in list order.
fn keys(page: &mut [u8]) -> Vec<u32> {
    let image = Image { page, zip: None };
    let mut keys = Vec::new();
    let mut rec = image.next(99).unwrap();
    while rec != 112 {
        keys.push(u32::from_be_bytes(*image.page[rec..].first_chunk().unwrap()));
        rec = image.next(rec).unwrap();
    }
    keys
}

#[test]
fn rows_come_and_go() {
    let mut page = vec![0; 4096];
    // Always after the infimum: the list is the reverse of the order of inserts.
    let inserts: Vec<_> = (0..40).map(|n| insert(99, n, 10)).collect();
    let done = applied(&mut page, None, &[vec![create()], inserts].concat()).unwrap();
    assert_eq!((done.count, done.skipped, done.lsn), (41, 0, Some(Lsn(8304 + 4000))));
    assert_eq!(keys(&mut page), (0..40).rev().collect::<Vec<_>>());
    let image = Image { page: &mut page, zip: None };
    assert!(image.n_slots().unwrap() > 6);
    let first = image.next(99).unwrap() as u16;
    applied(image.page, None, &[indexed(RecordType::REC_DELETE, &first.to_be_bytes())]).unwrap();
    assert_eq!(keys(&mut page)[0], 38);
    assert_eq!(bytes::r16(&page, GARBAGE).unwrap(), 34);
    let third = Image { page: &mut page, zip: None }.next(99).unwrap();
    let third = Image { page: &mut page, zip: None }.next(third).unwrap() as u16;
    applied(&mut page, None, &[indexed(RecordType::LIST_END_DELETE, &third.to_be_bytes())]).unwrap();
    assert_eq!(keys(&mut page), [38]);
    assert_eq!(bytes::r16(&page, N_RECS).unwrap(), 1);
    applied(&mut page, None, &[indexed(RecordType::PAGE_REORGANIZE, &[])]).unwrap();
    assert_eq!(keys(&mut page), [38]);
    assert_eq!(bytes::r16(&page, GARBAGE).unwrap(), 0);
}

#[test]
fn changes_that_the_page_has_are_skipped() {
    let mut page = vec![0; 4096];
    applied(&mut page, None, &[create(), insert(99, 1, 5)]).unwrap();
    bytes::put(&mut page, FIL_LSN, &8304u64.to_be_bytes()).unwrap();
    let done = applied(&mut page, None, &[create(), insert(99, 2, 5)]).unwrap();
    assert_eq!((done.count, done.skipped), (1, 1));
    assert_eq!(keys(&mut page), [2, 1]);
}

#[test]
fn nothing_is_built_on_an_empty_page() {
    let error = applied(&mut [0; 4096], None, &[insert(99, 1, 5)]).unwrap_err();
    assert_eq!(error, MysqlError::Load { page: ID, source: ApplyError::EmptyPage });
    let error = applied(&mut [0; 512], None, &[create()]).unwrap_err();
    assert!(matches!(error, MysqlError::Load { source: ApplyError::BufferSize { .. }, .. }));
}

#[test]
fn a_failing_record_is_named() {
    let error = applied(&mut [0; 4096], None, &[[create(), insert(4090, 1, 5)].concat()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "space 5 page 3: cannot apply redo record of type 67 (REC_INSERT) at LSN 8210: \
         the row at offset 4090 is damaged"
    );
}

/// A compressed page is what it is inflated to, and what was logged since.
#[test]
fn a_compressed_page_survives_its_frame() {
    let zip = Some(PageSize::new(2048).unwrap());
    let mut frame = vec![0; 2048];
    let recompress = indexed(RecordType::ZIP_PAGE_COMPRESS_NO_DATA, &[6]);
    applied(&mut frame, zip, &[[create(), recompress.clone()].concat()]).unwrap();
    let inserts: Vec<_> = (0..12).map(|n| insert(99, n, 30 + n as u8)).collect();
    // Each call loads the page from its frame again.
    for one in &inserts {
        applied(&mut frame, zip, std::slice::from_ref(one)).unwrap();
    }
    let unpack = |frame: &mut [u8]| {
        let mut page = vec![0; 4096];
        let mut frame = Frame { data: frame, log_end: 0, n_blobs: 0 };
        zip::decompress(&mut page, &mut frame, &mut Zlib::default()).unwrap();
        page
    };
    let logged = unpack(&mut frame);
    assert_eq!(keys(&mut logged.clone()), (0..12).rev().collect::<Vec<_>>());
    applied(&mut frame, zip, &[recompress]).unwrap();
    assert!(unpack(&mut frame) == logged, "compressed anew it is the same page");

    let first = Image { page: &mut logged.clone(), zip: None }.next(99).unwrap() as u16;
    applied(&mut frame, zip, &[indexed(RecordType::REC_DELETE, &first.to_be_bytes())]).unwrap();
    assert_eq!(keys(&mut unpack(&mut frame)), (0..11).rev().collect::<Vec<_>>());
    applied(&mut frame, zip, &[insert(99, 50, 20), indexed(RecordType::ZIP_PAGE_REORGANIZE, &[6])]).unwrap();
    assert_eq!(keys(&mut unpack(&mut frame))[0], 50);

    // Flags, value, position of the hidden columns, roll pointer, transaction number 9, row.
    let row = Image { page: &mut unpack(&mut frame), zip: None }.next(99).unwrap();
    let system: [u8; 12] = [7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 9];
    let mark = [&[0, 1, 1][..], &system, &(row as u16).to_be_bytes()].concat();
    applied(&mut frame, zip, &[indexed(RecordType::REC_CLUST_DELETE_MARK, &mark)]).unwrap();
    let mut page = unpack(&mut frame);
    assert_eq!(page[row + 4..row + 17], [0, 0, 0, 0, 0, 9, 7, 7, 7, 7, 7, 7, 7]);
    assert_eq!(Image { page: &mut page, zip: None }.info(row).unwrap() & 0x20, 0x20);
}

/// What the frame has no room for waits for the record that compresses it again.
#[test]
fn a_page_that_does_not_fit_is_refused() {
    let mut page = vec![0; 4096];
    let mut records = vec![create()];
    for n in 0..60u32 {
        records.push(insert(99, n.wrapping_mul(2_654_435_761), 20));
    }
    applied(&mut page, None, &records).unwrap();
    let mut frame = vec![0; 1024];
    let raw = [INDEX, &[6]].concat();
    let index = IndexCache::default().get(&mut Reader::new(&raw), &raw).unwrap();
    let zip = Some(Frame { data: &mut frame, log_end: 0, n_blobs: 0 });
    let mut image = Image { page: &mut page, zip };
    assert_eq!(compress(&mut image, &index, 6, &mut Zlib::default()), Err(ApplyError::DoesNotFit));
}

proptest! {
    #[test]
    fn hostile_records_do_no_harm(
        kind in 0..ALL.len(),
        mut body in prop::collection::vec(any::<u8>(), 0..120),
        page in prop::collection::vec(any::<u8>(), 1024),
        index: bool,
        zip: bool,
    ) {
        if index {
            body.splice(0..0, INDEX.iter().copied());
        }
        let records = [record(ALL[kind], &body)];
        if zip {
            let mut frame = page.clone();
            let _ = applied(&mut frame, Some(PageSize::new(1024).unwrap()), &records);
        }
        let mut page = page.repeat(4);
        bytes::put(&mut page, FIL_LSN, &[0; 8]).unwrap();
        let _ = applied(&mut page, None, &records);
    }

    /// A good page with a few wrong bytes, and records that are nearly right.
    #[test]
    fn damaged_pages_do_no_harm(
        rows in 1u32..60,
        wrong in prop::collection::vec((0usize..4096, any::<u8>()), 0..8),
        steps in prop::collection::vec((0usize..ALL.len(), 90u16..700, any::<u8>()), 1..8),
        zip: bool,
    ) {
        let mut records = vec![create()];
        records.extend((0..rows).map(|n| insert(99, n, (n % 40) as u8)));
        let mut page = vec![0; 4096];
        let (size, zip) = if zip { (2048, Some(PageSize::new(2048).unwrap())) } else { (4096, None) };
        if zip.is_some() {
            records.push(indexed(RecordType::ZIP_PAGE_COMPRESS_NO_DATA, &[6]));
        }
        let page = &mut page[..size];
        let whole = [records.concat()];
        if applied(page, zip, &whole).is_err() {
            // Only what does not fit its frame may fail.
            prop_assert!(zip.is_some());
            return Ok(());
        }
        for (at, value) in wrong {
            page[at % size] ^= value;
        }
        for (kind, at, more) in steps {
            let body = match ALL[kind] {
                RecordType::REC_INSERT => {
                    let _ = applied(page, zip, &[insert(at, 7, more % 100)]);
                    continue;
                }
                RecordType::REC_DELETE | RecordType::LIST_END_DELETE | RecordType::LIST_START_DELETE => {
                    [INDEX, &at.to_be_bytes()].concat()
                }
                RecordType::ZIP_PAGE_REORGANIZE | RecordType::ZIP_PAGE_COMPRESS_NO_DATA => {
                    [INDEX, &[more % 10]].concat()
                }
                RecordType::PAGE_REORGANIZE => INDEX.to_vec(),
                _ => vec![more; 6],
            };
            let _ = applied(page, zip, &[record(ALL[kind], &body)]);
        }
    }
}
