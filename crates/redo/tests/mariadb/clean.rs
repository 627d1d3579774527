use reseed_redo::mariadb::{Cursor, LogFile, Stop, clean_log, server_log_head};
use reseed_redo::{Capture, LogParser, Lsn, RedoFormat};
use reseed_terms::ServerVersion;

use crate::server::{Blocks, Ring, Saw, Watcher, drain, everything, write};

fn version(text: &str) -> ServerVersion {
    ServerVersion::parse(text).unwrap()
}

#[test]
fn a_ring_says_that_all_is_done() {
    let clean = clean_log(&version("10.11.19-MariaDB"), Lsn(5_000_000)).unwrap();
    assert_eq!(clean.flush_lsn, None);
    assert_eq!(clean.file.len(), 12304);
    let log = LogFile::parse(&clean.file, 12304).unwrap();
    assert_eq!(log.checkpoint.lsn, Lsn(5_000_000 - 16));
    assert_eq!(log.checkpoint.end, log.checkpoint.lsn);
    assert_eq!(log.creator, "Backup 10.11.19");
    let mut cursor = Cursor::new(log.clone());
    let mut redo = Vec::new();
    let accepted = cursor.accept(&clean.file[12288..], everything(), &mut redo);
    assert_eq!((accepted.bytes, cursor.position()), (16, Lsn(5_000_000)));
    let capture = Capture {
        format: log.format,
        first: cursor.first(),
        checkpoint: log.checkpoint.lsn,
        checkpoint_end: log.checkpoint.end,
        end: cursor.position(),
        bytes: 16,
        creator: log.creator,
    };
    let mut parser = LogParser::new(&capture).unwrap();
    parser.push(&redo).unwrap();
    let mut watcher = Watcher::default();
    drain(&mut parser, &mut watcher);
    assert_eq!(watcher.0, [Saw::Event("checkpoint 4999984".to_owned())]);
}

#[test]
fn before_the_ring_there_is_nothing_and_a_stamp() {
    for text in ["10.5.23-MariaDB", "10.7.1-MariaDB"] {
        let clean = clean_log(&version(text), Lsn(5_000_000)).unwrap();
        assert!(clean.file.is_empty());
        assert_eq!(clean.flush_lsn, Some(Lsn(5_000_000)));
    }
    assert!(clean_log(&version("10.8.0-MariaDB"), Lsn(12_303)).is_err());
    assert!(clean_log(&version("10.5.23-MariaDB"), Lsn(0)).is_err());
}

/// What is laid out for a server to recover from reads like the log that it was captured from.
#[test]
fn a_captured_log_can_be_laid_out_again() {
    let mut ring = Ring::new(30_000, 900);
    let mut cursor = Cursor::new(ring.log());
    let mut redo = Vec::new();
    for value in 0..30 {
        ring.mtr(&[write(3, 4, 50, &[value; 80])]);
        let window: Vec<u8> = cursor
            .spans(4096)
            .iter()
            .flat_map(|span| ring.file[span.offset as usize..][..span.len].to_vec())
            .collect();
        cursor.accept(&window, Lsn(ring.lsn), &mut redo);
    }
    let capture = Capture {
        format: RedoFormat::MariadbRing,
        first: Lsn(30_000),
        checkpoint: Lsn(30_000),
        checkpoint_end: Lsn(30_000),
        end: Lsn(ring.lsn),
        bytes: redo.len() as u64,
        creator: String::new(),
    };
    let mut file = server_log_head(&version("11.8.6-MariaDB"), &capture).unwrap();
    file.extend_from_slice(&redo);
    let log = LogFile::parse(&file, file.len() as u64).unwrap();
    let mut again = Vec::new();
    let mut cursor = Cursor::new(log);
    let mut stop = Stop::Limit;
    while cursor.position() < capture.end {
        let offset = cursor.log().offset(cursor.position()) as usize;
        stop = cursor.accept(&file[offset..], everything(), &mut again).stop;
    }
    assert_eq!(stop, Stop::WindowEnd);
    assert!(again == redo);
}

#[test]
fn captured_blocks_can_be_laid_out_again() {
    let mut server = Blocks::new(51_200, 40);
    for value in 0..30 {
        server.mtr(&[write(3, 4, 50, &[value; 80])]);
    }
    server.checkpoint_block(5, server.lsn);
    let checkpoint = server.lsn;
    server.mtr(&[write(3, 4, 50, &[9; 80])]);
    let mut cursor = Cursor::new(server.log());
    let offset = cursor.log().offset(cursor.first()) as usize;
    let mut redo = Vec::new();
    cursor.accept(&server.file[offset..], Lsn(server.lsn), &mut redo);
    redo.extend_from_slice(cursor.partial().unwrap_or(&[]));
    let capture = Capture {
        format: RedoFormat::MariadbBlocks,
        first: cursor.first(),
        checkpoint: Lsn(checkpoint),
        checkpoint_end: Lsn(checkpoint),
        end: Lsn(server.lsn),
        bytes: redo.len() as u64,
        creator: String::new(),
    };
    let mut file = server_log_head(&version("10.5.23-MariaDB"), &capture).unwrap();
    file.extend_from_slice(&redo);
    let log = LogFile::parse(&file, file.len() as u64).unwrap();
    assert_eq!((log.checkpoint.lsn, log.creator.as_str()), (Lsn(checkpoint), "Backup 10.5.23-MariaDB"));
    assert_eq!(log.offset(Lsn(checkpoint)), 2048 + checkpoint % 512);
}
