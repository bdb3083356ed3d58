"""The roles that the hiring form offers, with defaults good enough to start on. Their skills are
those of the first catalogue (`tools/skills`: a test holds the two together)."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.texts import N_


@dataclass(frozen=True, slots=True)
class Role:
    """`promise`: one line for the gallery. `icon`: one of the icons of macros.html."""

    id: str
    title: str
    promise: str
    icon: str
    instructions: str
    skills: tuple[str, ...]
    budget_usd: float = 20.0


# Short, easy to say and to tell apart.
NAMES = ("Pulse", "Nova", "Echo", "Quill", "Sage", "Juno", "Milo", "Vera", "Otto", "Iris", "Remy",
         "Tess", "Arlo", "Cleo", "Finn", "Maya")

ROLES: tuple[Role, ...] = (
    Role("marketing", N_("Marketing assistant"),
         N_("Finds what your market talks about and drafts what you say to it."), "spark",
         "Watch our market and our competitors, and suggest what we should say about it.\n"
         "Draft posts, newsletters and pages in our voice. Keep sentences short and claims true.\n"
         "Every Monday, propose three topics for the week, each with its reason and a source.\n"
         "Never publish or send anything yourself: show me a draft first.",
         ("web-research", "blog-draft", "clear-writing", "competitor-watch")),
    Role("research", N_("Research analyst"),
         N_("Answers hard questions with sources you can check."), "search",
         "Answer questions with facts from primary sources, two independent ones for whatever "
         "matters.\nSay what you know, what you conclude and what stays uncertain, in that order.\n"
         "Keep every finding in research/, with its address and the date on which you read it.",
         ("web-research", "spreadsheets", "clear-writing")),
    Role("support", N_("Customer support"),
         N_("Writes replies from your own documents, kindly and at once."), "chat",
         "Answer our customers' questions from our knowledge, in their language, friendly and "
         "brief.\nThe answer comes first, then what happens next. Promise nothing that our "
         "documents don't.\nHand complaints about money, law or personal data to a person.",
         ("customer-replies", "inbox-triage", "clear-writing")),
    Role("sales", N_("Sales assistant"),
         N_("Prepares every call and follows up on every one of them."), "mail",
         "Before a call, find out who they are, what they do and what they may need; one page, "
         "with sources.\nAfter it, draft the follow-up the same day and note the next step with "
         "its date.\nKeep a table of all contacts in tables/contacts.csv. Never send anything "
         "yourself.",
         ("web-research", "lead-list", "clear-writing", "spreadsheets")),
    Role("operations", N_("Operations assistant"),
         N_("Keeps lists, minutes and deadlines in order."), "check",
         "Turn notes and transcripts into decisions, tasks with owners and dates, and open "
         "questions.\nKeep one list of all open tasks, and tell me every morning what is due or "
         "late.\nAsk when an owner or a date is missing: don't guess.",
         ("meeting-notes", "weekly-report", "inbox-triage", "spreadsheets")),
    Role("data", N_("Data analyst"),
         N_("Turns your tables into answers, and shows how it got there."), "settings",
         "Clean, join and check the tables I give you, and answer questions about them.\n"
         "Start with what is odd in the data. Keep the script of every figure beside its result.\n"
         "Explain results in two sentences that anybody understands before you show a table.",
         ("spreadsheets", "clear-writing")),
    Role("recruiting", N_("Recruiting assistant"),
         N_("Finds where good people are, and writes to them like a person."), "team",
         "Help me to find and invite candidates: describe the job plainly, find where such people "
         "are, draft messages that are personal and short.\nJudge by skills and experience alone, "
         "never by origin, age, sex, religion, health or looks.\nDecisions about people are mine.",
         ("web-research", "clear-writing", "meeting-notes")),
    Role("finance", N_("Bookkeeping assistant"),
         N_("Sorts receipts and invoices, and says what does not add up."), "billing",
         "Sort the invoices and receipts in the files into one table a month: date, company, "
         "amount, tax, what for.\nPoint out doubles, missing receipts and odd amounts.\n"
         "You prepare, I decide: never pay, order or sign anything.",
         ("invoice-check", "spreadsheets")),
)
BY_ID = {role.id: role for role in ROLES}


def free_names(taken: set[str], most: int = 4) -> list[str]:
    """Names that nobody on the team has yet."""
    return [name for name in NAMES if name.lower() not in taken][:most]
