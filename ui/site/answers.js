// The labels and scores of one picture, and how they are shown.
import { Failure } from "./api.js";
import { element } from "./element.js";

const SHOWN = 5;

// [{ label, score }, …] with the highest score first.
export function readAnswers(answer) {
  const first = answer?.predictions?.[0];
  const { labels, scores } = first ?? {};
  const isRead = Array.isArray(labels) && Array.isArray(scores) && labels.length === scores.length && labels.length > 0;
  if (!isRead || !scores.every(Number.isFinite)) {
    throw new Failure("The model's answer holds no labels and scores: is it an image classifier?");
  }
  const text = (label) => (typeof label === "string" ? label : JSON.stringify(label));
  return labels.map((label, i) => ({ label: text(label), score: scores[i] })).sort((a, b) => b.score - a.score);
}

export function scoreInWords(score) {
  if (score < 0 || score > 1) return score.toPrecision(4);
  if (score > 0 && score < 0.0005) return "< 0.1\u00a0%";
  return `${(100 * score).toFixed(1)}\u00a0%`;
}

export function bars(answers) {
  const list = element("ol", { class: "answers" });
  // Scores beyond 1 are no shares: the longest bar is then the highest score.
  const whole = Math.max(1, ...answers.map(({ score }) => score));
  const show = (some) => list.append(...some.map((answer) => bar(answer, whole)));
  show(answers.slice(0, SHOWN));
  if (answers.length <= SHOWN) return [list];
  const more = element("button", { type: "button", class: "plain" }, `Show all ${answers.length} labels`);
  more.addEventListener("click", () => {
    show(answers.slice(SHOWN));
    list.tabIndex = -1;
    list.focus();
    more.remove();
  });
  return [list, more];
}

function bar({ label, score }, whole) {
  const filled = element("i");
  filled.style.width = `${(100 * Math.max(0, score)) / whole}%`;
  const meter = element(
    "div",
    {
      class: "bar",
      role: "meter",
      "aria-label": label,
      "aria-valuemin": Math.min(0, score),
      "aria-valuemax": whole,
      "aria-valuenow": score,
      "aria-valuetext": scoreInWords(score),
    },
    filled,
  );
  const text = [element("span", { class: "label" }, label), element("span", { class: "score" }, scoreInWords(score))];
  return element("li", {}, element("div", { class: "line" }, ...text), meter);
}
