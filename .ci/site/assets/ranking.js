// How well what a search can find answers a question: every word must be found; names count most, then titles, then
// texts (short ones that say it often above all), and phrases more. "my model" asks for "Your own model", and
// "mdm.plans.optimal(" for what users write so.
window.RANKING = (() => {
  const wordsOf = (question) =>
    question.toLowerCase().split(/\s+/).filter(Boolean)
      .map((word) => word.replace(/^mdm(_jax)?\.(?=.)/, "").replace(/\(.*$/, "") || word);
  const said = (text, word) => { // from 0 to 1: how much of a text is about a word
    const times = text.split(word).length - 1;
    return times / (times + text.length / 400);
  };
  const score = (entry, words) => {
    const [title, where, text] = entry.low;
    let total = 0;
    for (const word of words) {
      if (word === "my") {
        if (title.startsWith("your own ")) total += 100;
      } else if (title === word || entry.written.includes(word)) total += 100;
      else if (title.startsWith(word)) total += 40;
      else if (word.includes(".") && entry.written.some((name) => name.startsWith(word))) total += 40;
      else if (title.includes(word)) total += 20;
      else if (where.includes(word)) total += 6;
      else if (text.includes(word)) total += 1 + said(text, word);
      else return 0;
    }
    const phrase = words.join(" ");
    if (words.length > 1) total += title.includes(phrase) ? 60 : text.includes(phrase) ? 10 : 0;
    return total > 0 ? (total - Math.min(entry.title.length, 60) / 100) * entry.weight : 0;
  };
  const prepared = (index) => index.map(([title, where, url, text, weight, names]) => ({
    title, where, url, text, weight, low: [title, where, text].map((part) => part.toLowerCase()),
    written: names.map((name) => name.toLowerCase()),
  }));
  const found = (entries, words) => entries.map((entry) => [score(entry, words), entry])
    .filter(([points]) => points > 0).sort((a, b) => b[0] - a[0]).map(([, entry]) => entry);
  return { wordsOf, prepared, found };
})();
