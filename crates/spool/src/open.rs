//! Reading the folder at start: what is whole, what counted and is lost, what never counted.

use std::collections::{BTreeMap, HashMap};

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;

use crate::disk::Disk;
use crate::error::SpoolError;
use crate::files::{Files, MARKS, NEW, RESERVE, STATE};
use crate::format::{self, Bad, FoundHeader, Mark, VERSION};
use crate::spools::{Segment, Spool};
use crate::state::{Hole, SpoolState, State};
use crate::types::{Damage, DamageKind, HoleReason, Predecessor};

/// What the folder holds. Reading it changes nothing: see [`tidy`].
pub(crate) struct Loaded {
    pub(crate) generation: Option<StoreGeneration>,
    /// By age.
    pub(crate) spools: Vec<Spool>,
    pub(crate) damage: Vec<Damage>,
    /// Size of the file of marks when it is whole.
    pub(crate) marks: Option<usize>,
    /// The end of the newest spool, where the marks don't say it.
    pub(crate) unmarked: Option<Mark>,
    /// The file of reserved space is there.
    pub(crate) reserved: bool,
    /// New holes were found.
    pub(crate) state_changed: bool,
    /// Files that hold nothing any more.
    pub(crate) left_over: Vec<String>,
}

/// A spool with what is needed to judge its damage.
struct Candidate {
    spool: Spool,
    known: Option<SpoolState>,
    bad: Vec<(String, Bad)>,
    header_missing: bool,
    /// The highest position that a later record says was durable.
    proven: Seq,
}

/// The last mark of each spool.
struct Marks {
    ends: HashMap<SpoolId, Seq>,
    /// The file is there with a mark that can be read.
    any: bool,
    /// Its size, when every entry of it can be read.
    bytes: Option<usize>,
}

pub(crate) fn load<D: Disk>(files: &mut Files<D>, now: Timestamp) -> Result<Loaded, SpoolError> {
    let (mut damage, mut left_over) = (Vec::new(), Vec::new());
    let names = files.list()?;
    let reserved = names.iter().any(|name| name == RESERVE);
    let state = read_state(files, &names, &mut damage)?;
    let marks = read_marks(files, &names, &mut damage)?;
    let mut segments: BTreeMap<(u64, SpoolId), Vec<(Seq, String)>> = BTreeMap::new();
    for name in names {
        if let Some((ordinal, spool, first)) = format::parse_segment_name(&name) {
            segments.entry((ordinal, spool)).or_default().push((first, name));
        } else if name.ends_with(NEW) {
            left_over.push(name);
        } else if ![STATE, MARKS, RESERVE].contains(&name.as_str()) {
            damage.push(whole_file(&name, None, DamageKind::Stray));
        }
    }
    let mut candidates = Vec::new();
    for ((ordinal, id), named) in segments {
        let known = state.spools.iter().find(|known| known.id == id).cloned();
        if known.as_ref().is_some_and(|known| known.gone) {
            // Everything in it is receipted; the removal was cut short.
            left_over.extend(named.into_iter().map(|(_, name)| name));
            continue;
        }
        candidates.push(read_spool(files, ordinal, id, known, named, now, &mut damage)?);
    }
    for known in &state.spools {
        if !candidates
            .iter()
            .any(|candidate| candidate.spool.state.id == known.id)
        {
            candidates.push(without_files(known));
        }
    }
    candidates.sort_by_key(|candidate| (candidate.spool.state.ordinal, candidate.spool.state.id));
    let loaded = judge(candidates, &marks, damage);
    left_over.extend(loaded.left_over);
    Ok(Loaded {
        generation: state.generation,
        marks: marks.bytes,
        unmarked: unmarked(&loaded.spools, &marks),
        reserved,
        left_over,
        ..loaded
    })
}

/// The end of the newest spool, when it is not what its mark says.
fn unmarked(spools: &[Spool], marks: &Marks) -> Option<Mark> {
    let newest = spools.last().filter(|spool| !spool.state.gone)?;
    let mark = Mark {
        spool: newest.state.id,
        seq: newest.state.last_seq,
    };
    let marked = marks.bytes.is_some() && marks.ends.get(&mark.spool) == Some(&mark.seq);
    (!marked).then_some(mark)
}

/// Removes what is left over. What was read may only lie in the page cache: it becomes durable before anything
/// is built upon it.
pub(crate) fn tidy<D: Disk>(files: &mut Files<D>, loaded: &Loaded) -> Result<(), SpoolError> {
    for name in &loaded.left_over {
        files.remove(name)?;
    }
    let Some(newest) = loaded.spools.last() else {
        return Ok(());
    };
    for segment in newest.segments.values() {
        files.sync(&segment.name)?;
    }
    if loaded.marks.is_some() {
        files.sync(MARKS)?;
    }
    files.sync_dir()
}

fn whole_file(file: &str, spool: Option<SpoolId>, kind: DamageKind) -> Damage {
    Damage {
        file: file.to_owned(),
        offset: 0,
        spool,
        kind,
    }
}

fn read_state<D: Disk>(
    files: &mut Files<D>,
    names: &[String],
    damage: &mut Vec<Damage>,
) -> Result<State, SpoolError> {
    if !names.iter().any(|name| name == STATE) {
        return Ok(State::default());
    }
    Ok(State::decode(&files.read_all(STATE)?).unwrap_or_else(|| {
        damage.push(whole_file(STATE, None, DamageKind::State));
        State::default()
    }))
}

fn read_marks<D: Disk>(
    files: &mut Files<D>,
    names: &[String],
    damage: &mut Vec<Damage>,
) -> Result<Marks, SpoolError> {
    let mut marks = Marks {
        ends: HashMap::new(),
        any: false,
        bytes: None,
    };
    if !names.iter().any(|name| name == MARKS) {
        return Ok(marks);
    }
    let content = files.read_all(MARKS)?;
    let (found, damaged_at) = format::decode_marks(&content);
    marks.any = !found.is_empty();
    for mark in found {
        let end = marks.ends.entry(mark.spool).or_default();
        *end = mark.seq.max(*end);
    }
    if let Some(bad) = damaged_at {
        let bytes = (content.len() - bad.offset) as u64;
        let kind = if bad.tail && marks.any {
            DamageKind::TrimmedTail { bytes }
        } else {
            DamageKind::Marks
        };
        damage.push(Damage {
            offset: bad.offset as u64,
            ..whole_file(MARKS, None, kind)
        });
    } else {
        marks.bytes = Some(content.len());
    }
    Ok(marks)
}

fn read_spool<D: Disk>(
    files: &mut Files<D>,
    ordinal: u64,
    id: SpoolId,
    known: Option<SpoolState>,
    named: Vec<(Seq, String)>,
    now: Timestamp,
    damage: &mut Vec<Damage>,
) -> Result<Candidate, SpoolError> {
    let mut state = known.clone().unwrap_or(SpoolState::new(id, ordinal, None));
    let (mut segments, mut all_bad, mut proven) = (BTreeMap::<Seq, Segment>::new(), Vec::new(), 0);
    let mut predecessor: Option<Option<Predecessor>> = known.as_ref().map(|known| known.predecessor);
    for (first, name) in named {
        let content = files.read_all(&name)?;
        let mut written_as = VERSION;
        match format::find_header(&content) {
            FoundHeader::Newer(version) => {
                return Err(SpoolError::NewerFormat {
                    file: name,
                    version,
                    known: VERSION,
                });
            }
            FoundHeader::Known {
                header,
                version,
                damaged_copy,
            } => {
                written_as = version;
                let named_so = (header.ordinal, header.spool, header.first_seq) == (ordinal, id, first);
                if named_so {
                    predecessor = predecessor.or(Some(header.predecessor));
                }
                if damaged_copy || !named_so {
                    damage.push(whole_file(&name, Some(id), DamageKind::Header));
                }
            }
            FoundHeader::Damaged => damage.push(whole_file(&name, Some(id), DamageKind::Header)),
        }
        let scanned = format::scan(&content, first);
        // A later file wins: it was begun because the write before it had failed.
        for earlier in segments.values_mut() {
            earlier.cut(first);
        }
        if format::proves(written_as) {
            proven = scanned.proven.max(proven);
        }
        all_bad.extend(scanned.bad.into_iter().map(|bad| (name.clone(), bad)));
        segments.insert(
            first,
            Segment {
                name,
                bytes: content.len() as u64,
                settled_at: None,
                records: scanned.records,
            },
        );
    }
    state.predecessor = predecessor.flatten();
    state.receipted_at = state.receipted_at.or((state.receipted > 0).then_some(now));
    Ok(Candidate {
        header_missing: predecessor.is_none(),
        spool: Spool { state, segments },
        known,
        bad: all_bad,
        proven,
    })
}

fn without_files(known: &SpoolState) -> Candidate {
    Candidate {
        spool: Spool {
            state: known.clone(),
            segments: BTreeMap::new(),
        },
        known: Some(known.clone()),
        bad: Vec::new(),
        header_missing: false,
        proven: 0,
    }
}

/// Decides the end of each spool, and what of it is lost.
fn judge(candidates: Vec<Candidate>, marks: &Marks, mut damage: Vec<Damage>) -> Loaded {
    let mut left_over = Vec::new();
    let mut named_ends: HashMap<SpoolId, Seq> = HashMap::new();
    let mut spools = Vec::new();
    let mut state_changed = false;
    let mut newest = true;
    for mut candidate in candidates.into_iter().rev() {
        let id = candidate.spool.state.id;
        let last_seq = match named_ends.get(&id) {
            // The successor's first event said so, and the server may have heard it.
            Some(end) => *end,
            None => own_end(&candidate, marks),
        };
        if last_seq == 0 {
            for segment in candidate.spool.segments.values() {
                damage.push(Damage {
                    spool: Some(id),
                    ..whole_file(
                        &segment.name,
                        None,
                        DamageKind::TrimmedTail { bytes: segment.bytes },
                    )
                });
                left_over.push(segment.name.clone());
            }
            continue;
        }
        candidate.spool.state.last_seq = last_seq;
        candidate.spool.state.receipted = candidate.spool.state.receipted.min(last_seq);
        candidate.spool.cut(last_seq.saturating_add(1));
        state_changed |= find_holes(&mut candidate, &mut damage, newest);
        if let Some(predecessor) = candidate.spool.state.predecessor {
            named_ends.insert(predecessor.spool, predecessor.last_seq);
        }
        spools.push((candidate.spool, candidate.header_missing));
        newest = false;
    }
    spools.reverse();
    let mut before: Option<Predecessor> = None;
    let mut ordered = Vec::new();
    for (mut spool, header_missing) in spools {
        if header_missing {
            spool.state.predecessor = before;
        }
        before = Some(Predecessor {
            spool: spool.state.id,
            last_seq: spool.state.last_seq,
        });
        ordered.push(spool);
    }
    Loaded {
        generation: None,
        spools: ordered,
        damage,
        marks: None,
        unmarked: None,
        reserved: false,
        state_changed,
        left_over,
    }
}

/// The end of a spool that no later one names.
///
/// Marks are not synced with each group (ADR 0012), so the last of them may be missing or torn after a power
/// loss. The records themselves say what was durable before them: only the last group hangs on its mark.
fn own_end(candidate: &Candidate, marks: &Marks) -> Seq {
    let state = &candidate.spool.state;
    let known = candidate.known.as_ref().map_or(0, |known| known.last_seq);
    let marked = marks.ends.get(&state.id).copied().unwrap_or(0);
    let mut end = known.max(marked).max(candidate.proven);
    if !marks.any {
        // The file of marks is gone. A whole record is taken for one that counted, whatever is missing before it.
        return end.max(candidate.spool.last_record());
    }
    // What was written above is kept up to the first record that is not whole: a disk may have kept later
    // blocks of a cut-off write and lost earlier ones.
    while let Some(next) = end
        .checked_add(1)
        .filter(|next| candidate.spool.find(*next).is_some())
    {
        end = next;
    }
    end
}

/// Turns what counted and can't be read into holes, names every fault. Says whether holes are new.
fn find_holes(candidate: &mut Candidate, damage: &mut Vec<Damage>, newest: bool) -> bool {
    let spool = &mut candidate.spool;
    let last_seq = spool.state.last_seq;
    let id = spool.state.id;
    if spool.state.gone {
        return false;
    }
    // Below the first file everything was removed after its receipt.
    let mut at = match spool.segments.keys().next() {
        Some(first) if first - 1 <= spool.state.receipted => *first,
        _ => spool.state.receipted + 1,
    };
    let mut lost = Vec::new();
    while at <= last_seq {
        if let Some(hole) = spool.hole_at(at) {
            at = hole.to + 1;
        } else if spool.find(at).is_some() {
            at += 1;
        } else {
            let next_found = spool.next_record(at).unwrap_or(last_seq + 1);
            let next_hole = spool
                .state
                .holes
                .iter()
                .map(|h| h.from)
                .filter(|from| *from > at)
                .min();
            let to = next_found.min(next_hole.unwrap_or(Seq::MAX)).min(last_seq + 1) - 1;
            lost.push((at, to));
            at = to + 1;
        }
    }
    for (from, to) in &lost {
        let (file, offset) = place_of(spool, &candidate.bad, *from);
        damage.push(Damage {
            file,
            offset,
            spool: Some(id),
            kind: DamageKind::Lost { from: *from, to: *to },
        });
        spool.state.holes.push(Hole {
            from: *from,
            to: *to,
            reason: HoleReason::Unreadable,
        });
    }
    let mut trimmed = false;
    for (file, bad) in &candidate.bad {
        let bytes = bad.bytes as u64;
        let kind = match bad.next {
            _ if bad.from > last_seq => {
                if !newest || std::mem::replace(&mut trimmed, true) {
                    continue;
                }
                DamageKind::TrimmedTail { bytes }
            }
            Some(next) if next == bad.from => DamageKind::Garbage { bytes },
            _ => continue,
        };
        damage.push(Damage {
            file: file.clone(),
            offset: bad.offset as u64,
            spool: Some(id),
            kind,
        });
    }
    !lost.is_empty()
}

/// File and offset where a lost position stood, or should have stood.
fn place_of(spool: &Spool, bad: &[(String, Bad)], seq: Seq) -> (String, u64) {
    let covers = |bad: &Bad| bad.from <= seq && bad.next.is_none_or(|next| seq < next);
    if let Some((file, bad)) = bad.iter().rev().find(|(_, bad)| covers(bad)) {
        return (file.clone(), bad.offset as u64);
    }
    let segment = spool.segments.range(..=seq).next_back();
    segment.map_or_else(
        || (format::segment_name(spool.state.ordinal, spool.state.id, seq), 0),
        |(_, segment)| (segment.name.clone(), segment.bytes),
    )
}
