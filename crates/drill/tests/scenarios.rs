//! What is wrong with a scenario is said with its line, and what was probably meant.

use lifeboat_drill::engine::plan;
use lifeboat_drill::scenario::parse;

const AFTER: &str = "[[after]]\nname = \"a\"\ncommand = [\"true\"]\n";

#[test]
fn every_mistake_has_its_line_and_its_reason() {
    for (text, line, words) in [
        ("titel = \"x\"\n", Some(1), "did you mean `title`"),
        ("title = 3\n", Some(1), "`title` in scenario x is 3; expected a text"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\nlifeboad = [\"a\"]\n", Some(2), "did you mean `lifeboat`"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\ncommand = [\"a\"]\ntcp = \"b\"\n", Some(2), "does command and tcp"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\ncommand = \"a\"\n", Some(4), "expected a list of texts"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\nfault = \"burn\"\n", Some(4), "assumed-loss"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\ntcp = \"a\"\ntime_limit = \"3\"\n", Some(5), "a duration"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\ntcp = \"a\"\nbetween = [3, 1]\n", Some(5), "the lower one first"),
        ("title = \"t\"\n[[fault]]\nname = \"n\"\ntcp = \"{nowhere}\"\n", None, "nothing is called {nowhere}"),
        (
            "title = \"t\"\n[[fault]]\nname = \"n\"\nlifeboat = [\"prune\"]\nwith = \"production\"\n",
            Some(2),
            "only points",
        ),
        ("title = \"t\"\n[[after]]\nname = \"n\"\nloss = \"restored\"\n", None, "fault = \"assumed-loss\""),
        ("title = \"t\"\ndisruption = \"bad luck\"\n", Some(2), "corruption"),
        ("title = [\n", Some(1), "not valid TOML"),
    ] {
        let text = if text.contains("[\n") { text.to_owned() } else { format!("{text}{AFTER}") };
        let problems = parse("x", "x.toml", &text).expect_err(&text).0;
        let fits = problems.iter().any(|problem| problem.message.contains(words) && problem.line == line);
        assert!(fits, "{text}: {problems:#?}");
    }
    let problems = parse("x", "x.toml", "title = \"t\"\n").unwrap_err().to_string();
    assert!(problems.contains("nothing is asked afterwards"), "{problems}");
    // What may stay unknown is no question.
    let fault = "title = \"t\"\n[[fault]]\nname = \"n\"\nfault = \"assumed-loss\"\n";
    let counted = format!("{fault}[[after]]\nname = \"a\"\nloss = \"restored\"\n");
    let problems = parse("x", "x.toml", &counted).unwrap_err().to_string();
    assert!(problems.contains("nothing is asked afterwards"), "{problems}");
    assert!(parse("x", "x.toml", &format!("{counted}{AFTER}")).unwrap().counts_loss());
}

#[test]
fn steps_for_each_stay_together() {
    let text = "title = \"t\"\n[[recovery]]\nname = \"a\"\nstart = \"restored\"\neach = true\n[[recovery]]\nname = \"b\"\nstart = \"restored\"\neach = true\n\
        [[recovery]]\nname = \"c\"\ncommand = [\"true\"]\n[[after]]\nname = \"d\"\ncommand = [\"true\"]\n";
    let scenario = parse("x", "x.toml", text).unwrap();
    let steps: Vec<String> =
        plan(&scenario, 2).iter().map(|one| format!("{}{}", one.step.name, one.workload)).collect();
    assert_eq!(steps, ["a0", "b0", "a1", "b1", "c0", "d0"]);
}
