// On a narrow screen one pane is shown at a time; the tabs choose, by mouse or arrow keys.
const main = document.querySelector('.workspace');
const tabs = [...document.querySelectorAll('[role=tab]')];

function show(tab) {
  main.dataset.shown = tab.id.replace('tab-', '');
  for (const each of tabs) {
    each.setAttribute('aria-selected', String(each === tab));
    each.tabIndex = each === tab ? 0 : -1;
  }
}

tabs.forEach((tab, index) => {
  tab.addEventListener('click', () => show(tab));
  tab.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    show(next);
    next.focus();
  });
});
