"use strict";
// One position for all charts: the pointer over any of them, or the slider, shows the values of that window.
(() => {
  const data = JSON.parse(document.getElementById("readings").textContent);
  const last = data.windows.length - 1;
  const slider = document.getElementById("window");
  const time = document.getElementById("window-time");
  const cursors = document.querySelectorAll(".cursor");
  const outputs = document.querySelectorAll("output[data-series]");
  slider.closest("[hidden]").hidden = false;

  function show(index) {
    const middle = (data.edges[index] + data.edges[index + 1]) / 2;
    slider.value = index;
    slider.setAttribute("aria-valuetext", data.windows[index]);
    time.textContent = data.windows[index];
    for (const cursor of cursors) {
      cursor.hidden = false;
      cursor.style.left = `${100 * middle}%`;
    }
    for (const output of outputs) output.textContent = data.series[output.dataset.series][index];
  }

  function windowAt(share) {
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (data.edges[middle] <= share) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  for (const plot of document.querySelectorAll(".plot")) {
    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      show(windowAt((event.clientX - box.left) / box.width));
    };
    plot.addEventListener("pointermove", follow);
    plot.addEventListener("pointerdown", follow);
  }
  slider.addEventListener("input", () => show(Number(slider.value)));
})();
