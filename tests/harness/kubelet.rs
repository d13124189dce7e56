//! What a kubelet does to a pod's volumes, step by step as its atomic writer does it: the files of a Secret are in a folder
//! with a time for a name, `..data` leads to that folder and is exchanged by a rename, and each file's own name is a link
//! through `..data`. Not for: any other way in which a file changes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use crate::harness::setup::write_in_place;

/// A Secret or ConfigMap that is mounted.
pub(crate) struct Volume {
    folder: PathBuf,
    written: usize,
}

impl Volume {
    /// An empty one in a folder that is made.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
        Self {
            folder: folder.to_owned(),
            written: 0,
        }
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes these its files, and no others.
    pub(crate) fn write<'a>(&mut self, files: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let files: Vec<_> = files.into_iter().collect();
        let (data, aside) = (self.folder.join("..data"), self.folder.join("..data_tmp"));
        let old = fs::read_link(&data).ok();

        // All new files, in a folder that nobody looks into yet.
        self.written += 1;
        let name = format!(
            "..2026_11_25_10_00_{:02}.{}",
            self.written % 60,
            self.written
        );
        let new = self.folder.join(&name);
        fs::create_dir(&new).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in &files {
            write_in_place(&new.join(name), text);
            fs::set_permissions(new.join(name), fs::Permissions::from_mode(0o444)).unwrap();
        }

        // The one step that counts.
        symlink(&name, &aside).unwrap();
        fs::rename(&aside, &data).unwrap();

        // Names that are new, names that are gone, and the old folder.
        for (name, _) in &files {
            if !self.folder.join(name).is_symlink() {
                symlink(Path::new("..data").join(name), self.folder.join(name)).unwrap();
            }
        }
        for entry in fs::read_dir(&self.folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                fs::remove_file(self.folder.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
    }
}
