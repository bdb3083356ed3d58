// Loads the viewer. When a part of it does not come (the network changed, the desk restarts), the
// page is asked for anew, later each time.
import('/desk/desk.js').then(
  () => sessionStorage.removeItem('failures'),
  () => {
    const failures = Number(sessionStorage.getItem('failures') || 0);
    sessionStorage.setItem('failures', failures + 1);
    document.getElementById('state').textContent = 'This page did not load whole. Trying again…';
    setTimeout(() => location.reload(), Math.min(1000 * 2 ** failures, 15_000));
  });
