//! Procedures.

/// Most faults that one file may be told; a person reads them.
const MOST_FAULTS_PER_LINE: usize = 64;

pub(crate) fn compile(data: &[u8]) {
    let Ok(yaml) = std::str::from_utf8(data) else {
        return;
    };
    let lines = u64::try_from(yaml.lines().count()).unwrap_or(u64::MAX);
    match ::procedure::compile(yaml) {
        Ok(plan) => assert_eq!(::procedure::compile(yaml), Ok(plan), "one file, one plan"),
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a reason");
            let most = MOST_FAULTS_PER_LINE * (yaml.len() + 1);
            assert!(faults.len() <= most, "{} faults", faults.len());
            for fault in faults {
                assert!(!fault.message.is_empty(), "{fault:?}");
                assert!(
                    fault.line <= lines + 1,
                    "line {} of a file with {lines}",
                    fault.line
                );
            }
        }
    }
}
