//! The Dockerfile without Docker: what it copies is complete, and its steps, run by hand in a clean folder, give programs
//! that work with nothing else around them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[path = "image/dockerfile.rs"]
mod dockerfile;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use dockerfile::{stage, value};
use e2e::load::stored;
use e2e::servers::process::command;
use e2e::servers::{Home, Ownership, repository};
use e2e::world::{World, program_path};
use ignore::WalkBuilder;

const PROGRAMS: [&str; 5] = ["ingest", "aggregator", "dashboard", "admin", "emit"];

/// What Docker sends to the builder: the files of the checkout that .dockerignore does not leave out. Its patterns begin
/// with / or **, and so mean to Docker what they mean to git.
fn context() -> Vec<PathBuf> {
    let files = WalkBuilder::new(repository())
        .hidden(false)
        .require_git(false)
        .add_custom_ignore_filename(".dockerignore")
        .build()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    files.map(|entry| entry.path().strip_prefix(repository()).unwrap().to_owned()).collect()
}

fn copy_context(into: &Path) {
    for file in context() {
        let copy = into.join(&file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(repository().join(file), copy).unwrap();
    }
}

#[test]
fn what_is_copied_is_all_that_the_programs_are_built_from_and_little_else() {
    let home = Home::temporary("context").unwrap();
    copy_context(home.path());
    let metadata = Command::new("cargo")
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));

    for program in PROGRAMS {
        let built_from = fs::read_to_string(program_path(program).with_extension("d")).unwrap();
        let (_, sources) = built_from.split_once(": ").unwrap();
        for source in sources.split_whitespace() {
            let source = Path::new(source).strip_prefix(repository()).unwrap();
            assert!(home.path().join(source).exists(), "{program} is built from {source:?}, which is not copied");
        }
    }
    let size: u64 = context().iter().map(|file| fs::metadata(repository().join(file)).unwrap().len()).sum();
    assert!(size < 4_000_000, "{size} bytes are sent to the builder");
}

#[test]
fn versions_are_those_of_the_rest() {
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).unwrap();
    let (_, channel) = toolchain.split_once("channel = \"").unwrap();
    let (channel, _) = channel.split_once('"').unwrap();
    assert_eq!(value(&stage("build"), "FROM"), format!("rust:{channel}-bookworm AS build"));
    let labels = value(&stage("programs"), "LABEL");
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(labels.contains(&version), "{labels} without {version}");
}

#[test]
fn nobody_is_root() {
    for image in ["programs", "mongodb-exporter"] {
        assert_eq!(value(&stage(image), "USER"), "65532:65532");
    }
}

/// For `./dev image-check`: takes as long as the whole optimised build.
#[tokio::test]
#[ignore = "builds everything anew, optimised"]
async fn its_steps_build_programs_that_need_nothing_else() {
    let home = Home::temporary("image").unwrap();
    copy_context(home.path());
    // As the builder's cache, it stays from one build to the next.
    let cache = repository().join(".dev/image-target");
    fs::create_dir_all(&cache).unwrap();
    symlink(&cache, home.path().join("target")).unwrap();
    for (_, step) in stage("build").iter().filter(|(keyword, _)| keyword == "RUN") {
        let words = step.split(' ').filter(|word| !word.starts_with("--mount="));
        let step = words.collect::<Vec<_>>().join(" ");
        let status = Command::new("sh").args(["-c", &step]).current_dir(home.path()).status().unwrap();
        assert!(status.success(), "{step}");
    }
    assert_eq!(value(&stage("programs"), "COPY"), "--from=build /src/image /");
    let image = home.path().join("image");
    // Whoever is not root looks into the folder.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();

    let world = World::new("image").await;
    let run = async |program: &str, args: &[&str]| {
        let finished = world.finish(program, in_image(&image, &world, program, args)).await;
        assert_eq!(finished.code, Some(0), "{program} {args:?}: {}", finished.stderr);
        finished.stdout
    };
    run("admin", &["migrate"]).await;
    let yesterday = common::day::Day::yesterday().to_string();
    run("emit", &["generate", "--events", "1000", "--days", "1", "--until", &yesterday, "--seed", "1"]).await;
    run("ingest", &["run", "--until-caught-up"]).await;
    run("aggregator", &["run", "--date", &yesterday]).await;
    run("dashboard", &["--version"]).await;
    assert!(stored(&world).await > 0);

    let size: u64 = WalkBuilder::new(&image).build().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("the image is {:.1} MB large", size as f64 / 1e6);
    assert!(size < 150_000_000, "{size} bytes are no small image");
}

/// A program with the image as its whole world, as the user that the image names.
fn in_image(image: &Path, world: &World, program: &str, args: &[&str]) -> Command {
    let user = value(&stage("programs"), "USER");
    let mut command = if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let mut command = command(Path::new("chroot"), Ownership::Owned);
        command.arg(format!("--userspec={user}"));
        command
    } else {
        let mut command = command(Path::new("unshare"), Ownership::Owned);
        command.args(["--map-root-user", "chroot"]);
        command
    };
    let own = world.command(program);
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg(image).arg(Path::new("/usr/local/bin").join(program)).args(args);
    command
}
