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

/// A file system of 24 MB in memory, unmounted when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(folder.path())
            .status()
            .expect("mount (Debian: apt-get install mount)");
        assert!(
            mounted.success(),
            "a small disk needs root and the right to mount"
        );
        Self(folder)
    }

    /// Another program takes every block that is left.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.path().join("somebody-else")).expect("a file");
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn results_of_accepted_jobs_find_room_on_a_disk_that_somebody_else_has_filled() {
    const RESERVE: u64 = 8 * 1024 * 1024;
    let small = SmallDisk::mount();
    let limits = spool::Limits {
        segment_bytes: 100_000,
        min_free_bytes: 64 * 1024,
        reserve_bytes: RESERVE,
        ..spool::Limits::default()
    };
    let root = small.0.path().join("spool");
    let open = |now| Spools::open(RealDisk::open(&root).unwrap(), limits, at(now)).unwrap();
    let (mut spools, _) = open(0);
    spools.begin(id(1)).unwrap();
    let event = |seq: u64| [seq.to_le_bytes().as_slice(), &[b'x'; 592]].concat();
    let write = |spools: &mut Spools<RealDisk>, events: u64| -> Result<(), spool::SpoolError> {
        for _ in 0..events {
            let position = spools.next_position().unwrap();
            spools.append(position, &event(position.seq))?;
        }
        spools.sync()
    };
    write(&mut spools, 5).unwrap();
    assert_eq!(spools.room().unwrap().refusing, None);
    small.fill();
    assert!(spools.room().unwrap().refusing.is_some(), "no new job");
    // A start on the full disk still has what was set aside.
    drop(spools);
    let (mut spools, _) = open(1);
    spools.begin(id(2)).unwrap();
    write(&mut spools, 10).unwrap();
    // What the accepted ones still have to say: as much as was set aside.
    let promised = RESERVE / 616 - 400;
    write(&mut spools, promised).expect("there is room for every result that was promised");
    assert!(spools.room().unwrap().refusing.is_some());
    while write(&mut spools, 1).is_ok() {}
    let counted = spools.order().last().unwrap().1;
    assert!(counted >= 10 + promised, "{counted}");
    drop(spools);
    let (mut spools, opened) = open(1);
    let real = |damage: &&spool::Damage| !matches!(damage.kind, DamageKind::TrimmedTail { .. });
    assert_eq!(opened.damage.iter().find(real), None);
    for seq in [1, 10, 11, counted / 2, counted] {
        assert_eq!(spools.read(id(2), seq).unwrap(), Read::Event(event(seq)));
    }
    // The disk has room again: the reserve is taken anew, and jobs are.
    std::fs::remove_file(small.0.path().join("somebody-else")).unwrap();
    spools.begin(id(3)).unwrap();
    spools.compact(at(2)).unwrap();
    assert_eq!(spools.room().unwrap().refusing, None);
    small.fill();
    write(&mut spools, promised).expect("and keeps its promise again");
}
