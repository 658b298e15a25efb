/** What the keys do while the editor has the focus, and how the host is kept from doing more. */

import * as figures from './figure.js'

const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }
const FAR = 10 // pixels of the frame, with Shift
const GROWTH = 1.03

/** Keys without a modifier that only call the editor. */
const ACTIONS = {
  h: (editor) => hideSelected(editor),
  delete: (editor) => hideSelected(editor),
  backspace: (editor) => hideSelected(editor),
  m: (editor) => editor.mirror(),
  f: (editor) => editor.seeAll(),
  p: (editor) => editor.togglePoses(),
  pageup: (editor) => editor.step(-1),
  pagedown: (editor) => editor.step(1),
  '?': (editor) => editor.toggleKeys(),
  '+': (editor) => editor.change(figures.scaled(editor.figure, GROWTH)),
  '=': (editor) => editor.change(figures.scaled(editor.figure, GROWTH)),
  '-': (editor) => editor.change(figures.scaled(editor.figure, 1 / GROWTH)),
  escape: (editor) => letGo(editor)
}

/**
 * Makes the canvas something that keys go to. The host's own undo leaves alone what text is written
 * in, for that has a history of its own: front ends before 1.54.12 look at the type, later ones at
 * whether it can be edited.
 */
export function takeKeys(canvas) {
  canvas.tabIndex = 0
  canvas.type = 'textarea'
  canvas.contentEditable = 'true'
  canvas.inputMode = 'none' // no keyboard on the screen
  canvas.spellcheck = false
  canvas.addEventListener('beforeinput', (event) => event.preventDefault())
}

export function listenToKeys(editor) {
  editor.element.addEventListener('keydown', (event) => {
    const handled = event.target === editor.canvas ? handle : handleElsewhere
    if (!handled(editor, event)) return
    event.preventDefault()
    keepFromHost(event)
  })
}

/**
 * The host must not act on this event as well. Its own undo sees it before anything in the page
 * does, and decides a frame later whether it was a shortcut.
 */
export function keepFromHost(event) {
  event.stopPropagation()
  for (const name of ['ctrlKey', 'metaKey']) Object.defineProperty(event, name, { value: false })
}

/** Whether the key was the editor's; all others are the host's. */
function handle(editor, event) {
  if (event.altKey) return false
  if (event.ctrlKey || event.metaKey) return travel(editor, event)
  const letter = event.key.toLowerCase()
  if (letter === 'tab') return select(editor, event.shiftKey ? -1 : 1)
  if (ARROWS[letter]) {
    const [dx, dy] = ARROWS[letter].map((way) => way * (event.shiftKey ? FAR : 1))
    step(editor, dx, dy)
  } else if (Object.hasOwn(ACTIONS, letter)) ACTIONS[letter](editor)
  else return false
  return true
}

/** On buttons and in the library: undo and redo, and nothing that deletes the node. */
function handleElsewhere(editor, event) {
  if (event.ctrlKey || event.metaKey) return !event.altKey && travel(editor, event)
  return event.key === 'Delete' || event.key === 'Backspace'
}

/** Undo or redo. */
function travel(editor, event) {
  const letter = event.key.toLowerCase()
  if (letter === 'z' && !event.shiftKey) editor.undo()
  else if (letter === 'y' || letter === 'z') editor.redo()
  else return false
  return true
}

function step(editor, dx, dy) {
  const { figure, frame, selected } = editor
  if (selected === null) {
    editor.change(figures.shifted(figure, dx, dy))
    return
  }
  const { x, y } = figure.points[selected]
  editor.change(figures.moved(figure, selected, { x: x + dx, y: y + dy }, frame))
}

/** The next joint, or false after the last one: the focus leaves the editor. */
function select(editor, way) {
  const last = editor.figure.points.length - 1
  const next = editor.selected === null ? (way > 0 ? 0 : last) : editor.selected + way
  if (next < 0 || next > last) return false
  editor.selected = next
  editor.update()
  return true
}

function hideSelected(editor) {
  if (editor.selected !== null) editor.toggle(editor.selected)
}

function letGo(editor) {
  if (editor.gestures.drag) editor.gestures.cancel()
  else if (!editor.keys.hidden) editor.toggleKeys()
  else if (editor.selected !== null) {
    editor.selected = null
    editor.update()
  } else editor.canvas.blur()
}
