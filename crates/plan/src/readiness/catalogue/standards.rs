//! The clauses that ask for a check. What is quoted is where the question comes from; passing it claims nothing.

pub const BACKUP: &[&str] = &["NIST SP 800-34 3.4.1", "DORA 12(1)", "SOC 2 A1.2", "HIPAA 164.308(a)(7)(ii)(A)"];
pub const RESTORE: &[&str] = &["NIST SP 800-34 3.4", "DORA 12(2)", "HIPAA 164.308(a)(7)(ii)(B)"];
pub const TEST: &[&str] =
    &["NIST SP 800-34 3.5", "ISO 22301 8.5", "DORA 11(6)", "SOC 2 A1.3", "HIPAA 164.308(a)(7)(ii)(D)"];
pub const VERIFY: &[&str] = &["NIST SP 800-34 3.5.1", "DORA 12(2)", "SOC 2 A1.3", "HIPAA 164.308(a)(7)(ii)(D)"];
pub const SWITCH: &[&str] = &["NIST SP 800-34 3.5", "ISO 22301 8.5", "DORA 11(6)", "SOC 2 A1.3"];
pub const SITE: &[&str] = &["NIST SP 800-34 3.4", "ISO 22301 8.3", "DORA 12(4)", "SOC 2 A1.2"];
pub const OBJECTIVES: &[&str] = &["ISO 22301 8.6", "DORA 12(6)", "SOC 2 A1.3"];
pub const SEGREGATE: &[&str] = &["NIST SP 800-34 3.4.2", "DORA 12(3)", "SOC 2 A1.2"];
pub const PRIVILEGE: &[&str] = &["NIST SP 800-34 3.3", "DORA 12(2)"];
pub const KEYS: &[&str] = &["NIST SP 800-34 3.3", "DORA 12(2)", "HIPAA 164.308(a)(7)(ii)(B)"];
pub const CAPACITY: &[&str] = &["SOC 2 A1.1"];
pub const MONITOR: &[&str] = &["ISO 22301 9.1", "SOC 2 A1.2"];
pub const UPKEEP: &[&str] = &["SOC 2 A1.2"];
pub const REVIEW: &[&str] = &["NIST SP 800-34 3.6", "ISO 22301 8.2.1", "DORA 11(6)", "HIPAA 164.308(a)(7)(ii)(D)"];
pub const PLAN: &[&str] = &["NIST SP 800-34 3.6", "ISO 22301 8.4", "DORA 12(1)", "HIPAA 164.308(a)(7)(ii)(B)"];
pub const PEOPLE: &[&str] = &["ISO 22301 8.4", "DORA 11(6)"];
pub const CORRECT: &[&str] = &["NIST SP 800-34 3.5", "ISO 22301 10.1", "HIPAA 164.308(a)(7)(ii)(D)"];
pub const EVIDENCE: &[&str] = &["ISO 22301 9.1", "DORA 11(8)"];
