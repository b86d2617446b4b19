//! The same on a real folder.

use std::os::unix::fs::PermissionsExt as _;

use spool::{DamageKind, Disk as _, Read, RealDisk, Spools};

use crate::workload::{at, content, id, limits};

#[test]
fn a_folder_keeps_events_over_a_restart_and_names_a_cut_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let (mut spools, opened) = Spools::open(RealDisk::open(&root).unwrap(), limits(), at(0)).unwrap();
    assert_eq!(opened.damage, []);
    assert_eq!(
        std::fs::metadata(&root).unwrap().permissions().mode() & 0o777,
        0o700
    );
    spools.begin(id(1)).unwrap();
    for seq in 1..=8 {
        let position = spools.next_position().unwrap();
        spools.append(position, &content(id(1), seq)).unwrap();
    }
    assert_eq!(
        spools.read(id(1), 1).unwrap(),
        Read::Absent,
        "it does not count yet"
    );
    spools.sync().unwrap();
    assert_eq!(spools.read(id(1), 8).unwrap(), Read::Event(content(id(1), 8)));
    drop(spools);
    let mut disk = RealDisk::open(&root).unwrap();
    assert!(disk.free_bytes().unwrap() > 0);
    let last = disk
        .list()
        .unwrap()
        .into_iter()
        .rfind(|name| name.contains("seg"))
        .unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(root.join(&last))
        .unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - 1).unwrap();
    let (mut spools, opened) = Spools::open(disk, limits(), at(1)).unwrap();
    let [damage] = opened.damage.as_slice() else {
        panic!("{:?}", opened.damage)
    };
    assert_eq!(
        (&damage.file, damage.kind),
        (&last, DamageKind::Lost { from: 8, to: 8 })
    );
    assert!(damage.offset > 0 && damage.offset < len);
    assert!(matches!(spools.read(id(1), 8).unwrap(), Read::Hole { to: 8, .. }));
    assert_eq!(spools.read(id(1), 7).unwrap(), Read::Event(content(id(1), 7)));
}
