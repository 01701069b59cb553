// Pictures come in by a button, by dropping them anywhere on the page, or by pasting.
export function takeIn(take) {
  const input = document.getElementById("files");
  input.addEventListener("change", () => {
    const files = [...input.files];
    // So that the same file can be chosen again.
    input.value = "";
    if (files.length > 0) take(files);
  });

  const drop = document.getElementById("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let leaving;
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    drop.classList.add("over");
    // Events go on while something is held over the page; what ends them is not always told.
    clearTimeout(leaving);
    leaving = setTimeout(() => drop.classList.remove("over"), 500);
  });
  window.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!hasFiles(event)) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    if (files.length > 0) take(files);
  });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    take(files);
  });
}
