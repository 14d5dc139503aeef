//! The Dockerfile as the tests read it.

use std::fs;

use e2e::servers::repository;

/// An instruction, such as `RUN`, and what follows it.
pub type Instruction = (String, String);

/// The instructions of the stage named `name`, from its `FROM` on.
pub fn stage(name: &str) -> Vec<Instruction> {
    let text = fs::read_to_string(repository().join("Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let instructions = lines.replace("\\\n", " ");
    let instructions = instructions.lines().filter_map(|line| line.trim().split_once(' '));
    let mut stage = instructions
        .map(|(keyword, rest)| (keyword.to_owned(), rest.trim().to_owned()))
        .skip_while(|(keyword, rest)| !(keyword == "FROM" && rest.ends_with(&format!(" AS {name}"))));
    let from = stage.next().expect("the stage in the Dockerfile");
    std::iter::once(from).chain(stage.take_while(|(keyword, _)| keyword != "FROM")).collect()
}

/// What follows the stage's first such instruction.
pub fn value(stage: &[Instruction], keyword: &str) -> String {
    stage.iter().find(|(found, _)| found == keyword).expect("the instruction in the stage").1.clone()
}
