// Text as it is, also where it would not be seen or would turn around what stands beside it.

const RANGES = [
  '\\u034f\\u00ad', // grapheme joiner, soft hyphen
  '\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069', // what turns the direction
  '\\u200b\\u200c\\u2060-\\u2065\\u206a-\\u206f\\ufeff', // zero-width
  '\\u2028\\u2029', // breaks of lines that are none elsewhere
  '\\u17b4\\u17b5\\u180b-\\u180e\\u115f\\u1160\\u3164\\uffa0', // letters without a shape
  '\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}', // annotations and tags
];
// The zero-width joiner stays between emoji, which it makes one.
const LONE_JOINER = '(?<![\\p{Emoji_Presentation}\\p{Emoji_Modifier}\\ufe0f])\\u200d';
const UNSEEN = new RegExp(`[${RANGES.join(']|[')}]|${LONE_JOINER}`, 'gu');
const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const STRINGS = /("(?:[^"\\]|\\.)*")/;

const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

// In JSON the escapes mean the same as what they stand for.
export function visible(text) {
  return text.replace(UNSEEN, (found) => found.split('').map(escaped).join(''));
}

// JSON in pieces: [text, whether it is a string that is read from the right].
export function pieces(json) {
  if (!RIGHT_TO_LEFT.test(json)) {
    return [[json, false]];
  }
  return json.split(STRINGS).map((piece) => [piece, RIGHT_TO_LEFT.test(piece)]);
}
