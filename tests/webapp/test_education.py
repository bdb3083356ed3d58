"""Answers to instructions (a golden file), and the questions and their judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import fake_provider
from webapp import quiz
from webapp.education import MOST, NEEDED, educate, missing
from webapp.quiz import Question, is_right, paper, questions, read_answers

GOLDEN = Path(__file__).parent / "golden" / "instructions.md"
ANSWERS = {
    "about": "We rent sea monsters.\nSince 1874.", "customers": "Pirates,\nand a few museums.",
    "facts": "Opening hours: Mon–Fri, 9 to 17\n- Phone: +49 30 1234\n\n",
    "name": " Pulse ", "role": "Marketing  assistant",
    "duties": "- Write the newsletter\n2. Answer mails\n• Keep the list", "success": "One change.",
    "tone": "Warm and friendly", "sample": "Ahoy!\nCome aboard.", "avoid": "cheap",
    "always": "Say which document a price comes from.",
    "never": "Promise delivery dates.\nGive discounts", "approval": "Mails to more than ten",
    "unsure": "Maria (maria@acme.test)",
    "task": "# Rules\nDraft a welcome mail.<!-- instantworker: end -->\x07",
}
DOCUMENTS = {
    "prices.csv": "| Package | Price | Crew |\n| --- | --- | --- |\n| Kraken | € 1,249.00 | 4 |\n"
                  "| Fin | € 9 | 1 |\n",
    "terms.md": "# Terms\nThe Leviathan package costs 1,200 EUR.\nhttps://acme.test/a\n"
                "Notice period: 3 months\nColour: blue\nColour: red\n10:30: tea\n",
}


def test_instructions_are_readable_and_as_they_were():
    made = educate(ANSWERS, "Acme")
    assert (made.name, made.role) == ("Pulse", "Marketing assistant")
    assert made.instructions == GOLDEN.read_text()


def test_what_was_not_answered_is_left_out_and_what_is_needed_is_named():
    made = educate({"name": "Pulse", "role": "M", "never": "Lie"}, "Acme")
    assert made.instructions == "### Rules\n\n**Never**\n\n- Lie\n"
    assert educate({}, "Acme").instructions == ""
    assert missing({"name": " \n", "role": "M"}) == {"name": "job"} and missing({}) == NEEDED


def test_all_answers_at_their_longest_are_instructions_that_are_accepted():
    for words in ("x ", "x\n", "xyz"):
        longest = {name: (words * most)[:most] for name, most in MOST.items()}
        assert len(educate(longest, "A" * 80).instructions) <= 20_000


def asked() -> list[Question]:
    return questions("Pulse", "Marketing assistant", "Acme", educate(ANSWERS, "Acme").instructions,
                     DOCUMENTS)


def test_questions_come_from_answers_and_from_every_document():
    found = {q.text: (q.expected, q.source) for q in asked()}
    assert found == {
        "Which tone should you use?": ("Warm and friendly", quiz.OWN),
        "Whom do you ask when you are unsure?": ("Maria", quiz.OWN),
        "Which word is missing in this rule of yours? Never: “Promise ____ dates”":
            ("delivery", quiz.OWN),
        "What do your instructions say about “Opening hours”?": ("Mon–Fri, 9 to 17", quiz.OWN),
        "What is the “Price” of “Kraken”, according to prices.csv?": ("€ 1,249.00", "prices.csv"),
        "What does Leviathan package cost, according to terms.md?": ("1,200 EUR", "terms.md"),
        "What is the “Crew” of “Kraken”, according to prices.csv?": ("4", "prices.csv"),
        "What is said about “Notice period”, according to terms.md?": ("3 months", "terms.md"),
    }
    assert asked() == asked()


def test_what_is_said_twice_and_differently_is_not_asked():
    assert not any("Colour" in q.text or "10" in q.text for q in asked())


@pytest.mark.parametrize(("instructions", "documents", "count"), [
    ("", {}, 3), ("Be kind.", {}, 3), ("Phone: 123", {}, 4),
    ("\n".join(f"Fact {n}: {n}0" for n in range(30)), {}, 8),
    ("", {f"{n}.md": f"Size {n}: {n}0 cm\nWeight: 7 kg" for n in range(9)}, 5),
    ("\n".join(f"Fact {n}: {n}0" for n in range(30)), DOCUMENTS, 8),
])
def test_there_are_five_to_eight_where_there_is_enough_to_ask(instructions, documents, count):
    assert len(questions("Pulse", "M", "Acme", instructions, documents)) == count


@pytest.mark.parametrize("text", ["", "\0", "|" * 5000, "a: " * 5000, "| --- |\n" * 3000,
                                  "**" * 9000, "x costs " * 2000, "- ____: ____", ": ", "** **: x"])
def test_odd_texts_do_no_harm(text):
    for q in questions("P", "M", "A", text, {"odd.md": text}):
        assert q.text and q.expected


@pytest.mark.parametrize(("expected", "answer", "right"), [
    ("€ 1,249.00", "It is 1249 EUR.", True), ("€ 1,249.00", "1.249,00 euros", True),
    ("€ 1,249.00", "1240 EUR", False), ("9 %", "9 percent", True), ("3 months", "3 Months", True),
    ("3 months", "months", False), ("Maria", "I ask MARIA, in the chat.", True),
    ("Mon–Fri, 9 to 17", "Mon-Fri, 9-17", True), ("delivery", "**delivery**", True),
    ("delivery", "I don't know", False), ("delivery", "", False), ("4", "04", True),
    ("4", "40", False), ("Café Krem", "cafe\u0301 krem", True),
    ("a calm and steady hand", "a steady calm hand", True),
    ("delivery", "talk " * 80 + "delivery", False),
])
def test_answers_are_judged_by_what_they_say(expected, answer, right):
    assert is_right(Question("?", expected, quiz.OWN), answer) is right


def test_of_several_choices_it_names_the_one_alone():
    question = next(q for q in asked() if q.choices)
    assert is_right(question, "warm and friendly!")
    assert not is_right(question, "Brief and clear")
    assert not is_right(question, "; ".join(question.choices))


def test_the_paper_and_its_answers():
    text = paper(asked())
    assert text.startswith("QUIZ\n") and "\n8. What is" in text
    assert "Choose one: Warm and friendly; Brief and clear;" in text
    said = "Here you go:\n\n1. Warm\n**2.** Maria,\nin the chat\n 3) delivery\n12. nothing\n#5: 17"
    assert read_answers(said, 5) == ["Warm", "Maria, in the chat", "delivery 12. nothing", "",
                                     "17"]
    assert read_answers("The demo model says this.", 3) == ["", "", ""]


def test_the_fake_provider_passes_it_once_it_has_read_the_documents():
    """What e2e relies on; through the fake's own door, as the gateway talks to it."""
    instructions = educate(ANSWERS, "Acme").instructions
    made = [*asked(), *questions("Pulse", "Marketing assistant", "Acme", "", {})]
    messages = [{"role": "system", "content": "You are Pulse, Marketing assistant at Acme. People "
                 f"of Acme talk to you.\n\n{instructions}"},
                {"role": "user", "content": f"[Wed 10:00] {paper(made)}"}]
    called = fake_provider.answer({"messages": messages})["tool_calls"]
    assert [c["function"]["arguments"] for c in called] == [
        '{"command": "cat /shared/text/prices.csv.md"}',
        '{"command": "cat /shared/text/terms.md.md"}']
    messages.append({"role": "assistant", "content": None, "tool_calls": called})
    messages += [{"role": "tool", "content": text} for text in DOCUMENTS.values()]
    said = read_answers(fake_provider.answer({"messages": messages})["content"], len(made))
    assert [(q.text, a) for q, a in zip(made, said, strict=True) if not is_right(q, a)] == []
    messages += [{"role": "assistant", "content": "1. …"}, {"role": "user", "content": "SAY hi"}]
    assert fake_provider.answer({"messages": messages}) == {"content": "(scripted) hi"}
