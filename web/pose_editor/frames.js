/**
 * The frames of a text and the people in them: a text is one document or a list of them, one a
 * frame. Which of several people the node takes, the first document says; where it does not, it is
 * the largest of each frame.
 */

import { bodyOf, largest, parse, refit, writePerson } from './figure.js'

const PERSON = 'pcdm_person' // as in the pack's reader
const NOBODY = { pose_keypoints_2d: Array(54).fill(0) }

/** The documents of a text; none where it is no JSON, or too long for the node. */
export function framesOf(text, limits) {
  if (text.length > limits.longest_text) return []
  try {
    return [JSON.parse(text)].flat()
  } catch {
    return []
  }
}

/** Numbers of the people in a frame that can be shown. */
export function peopleOf(document) {
  const people = Array.isArray(document?.people) ? document.people : []
  return people.flatMap((person, number) => (bodyOf(person) ? [number] : []))
}

/** Number of the person of a frame that the node takes; -1 where that is nobody. */
export function personOf(documents, at) {
  const name = documents[0]?.[PERSON]
  if (Number.isInteger(name) && name >= 0) return name
  return largest(Array.isArray(documents[at]?.people) ? documents[at].people : [])
}

/** The figure of a frame, of the frame before where the person is not in it; or null. */
export function figureAt(documents, at, frame, standing, limits) {
  for (let number = Math.min(at, documents.length - 1); number >= 0; number--) {
    const person = personOf(documents, number)
    const figure = parse(documents[number], person, frame, standing, limits.farthest)
    if (figure) return figure
  }
  return null
}

/** A text in which the node takes another person. */
export function withPerson(documents, person) {
  return textOf([{ ...documents[0], [PERSON]: person }, ...documents.slice(1)])
}

/** The text with a figure as the person of one of its frames. */
export function write(figure, frame, documents, at, limits) {
  const canvas = { canvas_height: frame.height, canvas_width: frame.width }
  const others = Array.isArray(documents[at]?.people) ? documents[at].people : []
  const person = Math.max(personOf(documents, at), 0)
  const count = Math.max(others.length, person + 1)
  const people = Array.from({ length: count }, (_, number) => {
    if (number === person) return writePerson(figure)
    const other = parse(documents[at], number, frame, figure, limits.farthest)
    return other ? writePerson(other) : NOBODY
  })
  const written = [...documents]
  written[at] = { people, ...canvas }
  // Named, because a change of size could make another one the largest.
  if (count > 1) written[0] = { ...written[0], [PERSON]: person }
  return textOf(written)
}

function textOf(documents) {
  return JSON.stringify(documents.length === 1 ? documents[0] : documents)
}

/** What to tell the user of a text that this script cannot read. */
export function complaint(text, limits) {
  if (text.length > limits.longest_text) {
    return `This text is too long for a pose: ${text.length} characters. Paste a shorter one.`
  }
  const documents = framesOf(text, limits)
  if (!documents.length) {
    return 'This text is no pose: it is no JSON, and a run will refuse it. Paste another, or undo.'
  }
  if (documents.every((document) => document === null || typeof document !== 'object')) {
    return 'This text is no pose, and a run will refuse it. Paste another, or undo.'
  }
  return 'This text is no pose that can be shown before a run.'
}
