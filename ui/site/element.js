// Elements from text and attributes. Names, labels and messages come from strangers, so text is never read as HTML.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Screen readers are told of a change alone, so what stays the same is left as it is.
export function say(place, words) {
  if (place.textContent !== words) place.textContent = words;
  if (!place.classList.contains("unseen")) place.hidden = !words;
}
