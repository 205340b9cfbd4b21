// Words as a reader sees them.

const DOUBTFUL = 0.5;

function wordElement({ word, start, end, confidence }) {
  const element = document.createElement("ruby");
  element.className = confidence < DOUBTFUL ? "word doubtful" : "word";
  element.dataset.word = word;
  element.title = `${start.toFixed(2)} to ${end.toFixed(2)} s`;
  const sure = document.createElement("rt");
  sure.textContent = Math.round(100 * confidence);
  element.append(word, sure);
  return element;
}

/** An utterance: each word with its times, and its confidence below it. */
export function paragraph(words, className) {
  const element = document.createElement("p");
  element.className = className;
  element.append(...words.flatMap((word) => [wordElement(word), " "]));
  return element;
}
