// A classic script in the head: the theme is there before the first paint.
(() => {
  try {
    const wanted = localStorage.getItem('theme');
    if (wanted === 'light' || wanted === 'dark') document.documentElement.dataset.theme = wanted;
  } catch { /* storage may be forbidden */ }
})();
