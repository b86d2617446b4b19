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

/// Counts what the spool asks of the disk.
#[derive(Debug)]
struct Counting {
    disk: RealDisk,
    syncs: std::rc::Rc<std::cell::Cell<u64>>,
}

impl spool::Disk for Counting {
    fn create(&mut self, name: &str) -> std::io::Result<()> {
        self.disk.create(name)
    }
    fn append(&mut self, name: &str, data: &[u8]) -> std::io::Result<()> {
        self.disk.append(name, data)
    }
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.disk.read_at(name, offset, into)
    }
    fn sync(&mut self, name: &str) -> std::io::Result<()> {
        self.syncs.set(self.syncs.get() + 1);
        self.disk.sync(name)
    }
    fn sync_dir(&mut self) -> std::io::Result<()> {
        self.syncs.set(self.syncs.get() + 1);
        self.disk.sync_dir()
    }
    fn rename(&mut self, from: &str, to: &str) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> std::io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&mut self) -> std::io::Result<Vec<String>> {
        self.disk.list()
    }
    fn len(&mut self, name: &str) -> std::io::Result<u64> {
        self.disk.len(name)
    }
    fn free_bytes(&mut self) -> std::io::Result<u64> {
        self.disk.free_bytes()
    }
}

#[test]
fn a_group_costs_one_sync_however_many_events_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let syncs = std::rc::Rc::default();
    let disk = Counting {
        disk: RealDisk::open(folder.path()).unwrap(),
        syncs: std::rc::Rc::clone(&syncs),
    };
    let (mut spools, _) = Spools::open(disk, spool::Limits::default(), at(0)).unwrap();
    spools.begin(id(1)).unwrap();
    let group = |spools: &mut Spools<Counting>, events| {
        for _ in 0..events {
            let position = spools.next_position().unwrap();
            spools.append(position, b"an event").unwrap();
        }
        spools.sync().unwrap();
    };
    group(&mut spools, 1);
    let before = syncs.get();
    for events in 1..=20 {
        group(&mut spools, events);
    }
    assert_eq!(syncs.get() - before, 20);
}

/// Seventy-two hours of a bench that makes an event each second: 259,200 events of 600 bytes, 160 MB.
#[test]
fn a_spool_of_72_busy_hours_opens_quickly_and_is_removed_when_its_time_is_over() {
    const EVENTS: u64 = 72 * 3600;
    let folder = tempfile::tempdir().unwrap();
    let limits = spool::Limits {
        min_free_bytes: 0,
        ..spool::Limits::default()
    };
    let open = |now| Spools::open(RealDisk::open(folder.path()).unwrap(), limits, at(now)).unwrap();
    let (mut spools, _) = open(0);
    spools.begin(id(1)).unwrap();
    let event = vec![b'x'; 600];
    for seq in 1..=EVENTS {
        let position = spools.next_position().unwrap();
        spools.append(position, &event).unwrap();
        if seq % 20_000 == 0 {
            spools.sync().unwrap();
        }
    }
    spools.sync().unwrap();
    spools.compact(at(1)).unwrap();
    let room = spools.room().unwrap();
    assert_eq!(room.refusing, None, "it fits into the default limits three times");
    assert!(
        room.used_bytes < spool::Limits::default().max_bytes / 3,
        "{room:?}"
    );
    drop(spools);
    let begun = std::time::Instant::now();
    let (mut spools, opened) = open(2);
    println!("opened {} events in {:?}", opened.outstanding, begun.elapsed());
    assert_eq!((opened.damage.len(), opened.outstanding), (0, EVENTS));
    assert_eq!(spools.read(id(1), EVENTS / 2).unwrap(), Read::Event(event));
    assert_eq!(spools.oldest_open(), Some((id(1), EVENTS, 0)));
    spools.settle(id(1), EVENTS, at(3));
    assert_eq!(spools.oldest_open(), None);
    spools.compact(at(3 + 72 * 3600 - 1)).unwrap();
    assert_eq!(spools.former().len(), 0, "kept for 72 h");
    spools.compact(at(3 + 72 * 3600)).unwrap();
    assert_eq!(spools.former().len(), 1);
    let left: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(left < 10_000, "{left} bytes are left");
}
