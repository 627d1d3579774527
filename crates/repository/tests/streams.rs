//! Streams: what was sent arrives, and whatever happens on the way is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;

use common::*;
use reseed_repository::*;

type Received = (FileList, Vec<u8>, StreamEnd);

fn receive(bytes: &[u8]) -> Result<Received, RepositoryError> {
    let mut reader = StreamReader::open(bytes)?;
    let mut decoder = reader.decoder()?;
    let mut runs: HashMap<(u32, u64), Vec<u8>> = HashMap::new();
    let mut redo = Vec::new();
    loop {
        match reader.next_item()? {
            Item::Run(run) => {
                let mut raw = Vec::new();
                decoder.decode(&run, &mut raw)?;
                runs.insert((run.run.pack, run.run.at), raw);
                reader.give_back(run);
            }
            Item::Redo(piece) => redo.extend(piece),
            Item::End(end) => {
                let files = end.files.iter().filter(|file| file.kind != FileKind::Directory);
                let files = files.map(|file| {
                    let mut bytes = vec![0; file.size as usize];
                    for run in &file.runs {
                        let raw = &runs[&(run.pack, run.at)];
                        bytes[run.at as usize..][..raw.len()].copy_from_slice(raw);
                    }
                    (file.path.clone(), file.kind, bytes)
                });
                return Ok((files.collect(), redo, *end));
            }
        }
    }
}

#[test]
fn what_was_sent_arrives() {
    for compression in [Compression::None, Compression::Zstd(1)] {
        let (bytes, published) = stream(compression, REDO);
        let (files, redo, end) = receive(&bytes).unwrap();
        assert!((files, redo) == sorted(REDO));
        assert_eq!(end.manifest, published.manifest);
        assert_eq!(StreamReader::open(&bytes[..]).unwrap().head().id, published.manifest.id);
    }
}

#[test]
fn the_stored_stream_of_version_1_is_readable() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1/stream");
    let (files, redo, end) = receive(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(end.manifest.format, 1);
    assert!((files, redo) == sorted(200));
}

#[test]
fn a_stream_cut_anywhere_is_an_error() {
    let (bytes, _) = stream(Compression::Zstd(1), 5000);
    for len in (0..bytes.len()).step_by(97).chain(bytes.len() - 100..bytes.len()).chain(0..64) {
        let error = receive(&bytes[..len]).expect_err("a cut stream is never whole");
        let short = matches!(error, RepositoryError::Stream(StreamError::Short { .. }));
        assert!(short, "cut at {len}: {error}");
    }
}

#[test]
fn a_stream_altered_anywhere_is_an_error() {
    for compression in [Compression::None, Compression::Zstd(1)] {
        let (bytes, _) = stream(compression, 5000);
        let step = (bytes.len() / 1500) | 1;
        let near_ends = (0..600).chain(bytes.len() - 3000..bytes.len());
        for at in near_ends.chain((0..bytes.len()).step_by(step)) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let error = receive(&bad).expect_err("an altered stream is never whole");
            let refused = matches!(error, RepositoryError::Stream(_) | RepositoryError::NewerFormat { .. });
            assert!(refused, "altered at {at}: {error}");
        }
    }
}

#[test]
fn garbage_and_repetition_are_errors() {
    let (bytes, _) = stream(Compression::Zstd(1), 5000);
    for tail in [&b"\n"[..], &[0; 600], &bytes[..]] {
        let error = receive(&[&bytes[..], tail].concat()).unwrap_err();
        assert!(matches!(error, RepositoryError::Stream(StreamError::Trailing { .. })), "{error}");
    }
    for rubbish in [&b"tar: no such file"[..], b"\x1f\x8b", b"RESEED\x1aT        "] {
        let error = receive(rubbish).unwrap_err();
        assert!(matches!(error, RepositoryError::Stream(StreamError::NotOurs)), "{error}");
    }
    let mut newer = bytes;
    newer[8] = 9;
    let error = receive(&newer).unwrap_err();
    assert!(matches!(error, RepositoryError::NewerFormat { found: 9, known: 1, .. }), "{error}");
}

#[test]
fn the_receiver_learns_why_the_sender_gave_up() {
    let out = Collect::default();
    let writer = StreamWriter::new(Box::new(out.clone()), &name(), NewSet::full(start())).unwrap();
    Box::new(writer).abort("redo overrun at LSN 4711", Rest::Kept);
    let bytes = out.0.lock().unwrap().clone();
    let error = receive(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "the stream is no good: the other side gave up: redo overrun at LSN 4711");
}

#[test]
fn a_receiver_that_is_gone_is_an_error_for_the_sender() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = StreamWriter::new(Box::new(Closed), &name(), NewSet::full(start())).unwrap_err();
    assert!(error.to_string().starts_with("cannot write the stream at offset 0"), "{error}");
}
