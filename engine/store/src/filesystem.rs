//! Which kind of filesystem holds a folder, and whether other machines share it.
//!
//! The kernel's magic number tells most kinds. All programs that serve a filesystem through FUSE have one number: which of them it
//! is stands in the list of mounts.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The filesystem that holds a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    /// The kernel's magic number of its kind.
    pub magic: u64,
    /// The program that serves it over a network, where one does.
    pub served_by: Option<&'static str>,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

const FUSE: u64 = 0x6573_5546;

/// Magic number, name, whether it is a network filesystem. The numbers are those of `statfs(2)`.
const KINDS: &[(u64, &str, bool)] = &[
    (0xEF53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683E, "btrfs", false),
    (0x0102_1994, "tmpfs", false),
    (0x794C_7630, "overlay", false),
    (0x2FC1_2FC1, "zfs", false),
    (0xF2F5_2010, "f2fs", false),
    (0xCA45_1A4E, "bcachefs", false),
    (FUSE, "fuse", false),
    (0x4D44, "vfat", false),
    (0x2011_BAB0, "exfat", false),
    (0x6969, "nfs", true),
    (0x517B, "smb", true),
    (0xFF53_4D42, "cifs", true),
    (0xFE53_4D42, "smb2", true),
    (0x0BD0_0BD0, "lustre", true),
    (0x00C3_6400, "ceph", true),
    (0x0102_1997, "9p", true),
    (0x5346_414F, "afs", true),
    (0x6B41_4653, "afs", true),
    (0x7375_7245, "coda", true),
    (0x4750_4653, "gpfs", true),
    (0x1983_0326, "beegfs", true),
    (0x2003_0528, "orangefs", true),
];

/// Programs that serve a remote filesystem through FUSE, by what stands behind `fuse.` in the list of mounts, or as the source of
/// the mount where they name no kind of their own.
const REMOTE_FUSE: &[&str] = &[
    "sshfs",
    "s3fs",
    "gcsfuse",
    "goofys",
    "mount-s3",
    "mountpoint-s3",
    "blobfuse",
    "blobfuse2",
    "rclone",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "juicefs",
    "JuiceFS",
    "seaweedfs",
    "moosefs",
    "mfs",
    "lizardfs",
    "davfs",
    "davfs2",
    "curlftpfs",
    "smbnetfs",
    "hdfs",
    "fuse_dfs",
    "alluxio-fuse",
    "objectivefs",
    "wekafs",
    "geesefs",
    "cvmfs2",
];

impl Filesystem {
    /// Asks the kernel about the filesystem that holds `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statfs(path)?;
        let magic = u64::from(found.f_type as u32);
        let block = u64::try_from(found.f_bsize).unwrap_or(0);
        let served_by = if magic == FUSE {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            remote_server(&mounts, fs::metadata(path)?.dev())
        } else {
            None
        };
        Ok(Self {
            magic,
            served_by,
            free_bytes: found.f_bavail.saturating_mul(block),
            total_bytes: found.f_blocks.saturating_mul(block),
        })
    }

    /// Returns the kind's name, or `other`.
    pub fn name(&self) -> &'static str {
        let kind = || KINDS.iter().find(|kind| kind.0 == self.magic).map_or("other", |kind| kind.1);
        self.served_by.unwrap_or_else(kind)
    }

    /// Whether other machines share it: locks, sockets and mapped files cannot be trusted there.
    pub fn is_network(&self) -> bool {
        self.served_by.is_some() || KINDS.iter().any(|kind| kind.0 == self.magic && kind.2)
    }
}

/// Returns the program that serves the device over a network, going by the list of mounts: `proc_pid_mountinfo(5)`.
fn remote_server(mounts: &str, device: u64) -> Option<&'static str> {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&number))?;
    let (_, about) = mount.split_once(" - ")?;
    let mut words = about.split(' ');
    let (kind, source) = (words.next()?, words.next()?);
    let kind = kind.strip_prefix("fuse.").unwrap_or_default();
    // Buckets and hosts come behind a colon.
    let source = source.split(':').next().unwrap_or_default();
    REMOTE_FUSE.iter().copied().find(|known| *known == kind || *known == source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_told_from_local_ones() {
        let kind = |magic, served_by| Filesystem { magic, served_by, free_bytes: 0, total_bytes: 0 };
        for (magic, name, network) in
            [(0x6969, "nfs", true), (0xFF53_4D42, "cifs", true), (0xEF53, "ext4", false), (1, "other", false)]
        {
            assert_eq!((kind(magic, None).name(), kind(magic, None).is_network()), (name, network));
        }
        assert!(!kind(FUSE, None).is_network() && kind(FUSE, Some("sshfs")).is_network());
        let here = Filesystem::of(&std::env::temp_dir()).unwrap();
        assert!(here.total_bytes > 0 && here.total_bytes >= here.free_bytes);
    }

    #[test]
    fn what_is_served_from_elsewhere_is_read_off_the_list_of_mounts() {
        // Of a machine with `sshfs`, an `ntfs-3g` disk, a bucket of `s3fs`, and one of `mount-s3`, which names no kind.
        let mounts = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
             66 27 0:39 / /tmp/mnt rw,nosuid,nodev,relatime - fuse.sshfs root@127.0.0.1:/tmp/remote rw,user_id=0,group_id=0\n\
             67 27 8:17 / /mnt/disk rw,relatime shared:9 - fuseblk /dev/sdb1 rw,user_id=0,group_id=0\n\
             68 27 0:41 / /mnt/bucket rw - fuse.s3fs s3fs rw\n\
             69 27 0:42 / /mnt/models rw - fuse mountpoint-s3 rw\n\
             70 27 0:43 / /mnt/merged rw - fuse.mergerfs a:b rw\n";
        let server = |major, minor| remote_server(mounts, rustix::fs::makedev(major, minor));
        assert_eq!((server(0, 39), server(0, 41), server(0, 42)), (Some("sshfs"), Some("s3fs"), Some("mountpoint-s3")));
        assert_eq!((server(8, 17), server(0, 43), server(254, 0), server(9, 9)), (None, None, None, None));
    }
}
