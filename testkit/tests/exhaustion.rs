//! Descriptor exhaustion, alone in its program since it concerns the whole process.

use std::fs::File;
use std::net::TcpListener;

use testkit::descriptors::Hoard;

#[test]
fn a_hoard_leaves_nothing_until_it_is_dropped() {
    let mut hoard = Hoard::take_all().unwrap();
    assert!(File::open("/dev/null").is_err());
    hoard.release(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(File::open("/dev/null").is_err(), "only one was released");
    drop(listener);
    drop(hoard);
    let many: Result<Vec<_>, _> = (0..200).map(|_| File::open("/dev/null")).collect();
    assert!(many.is_ok(), "the limit is what it was");
}
