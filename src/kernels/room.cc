// Keeps the target buildable until the room's first source arrives.
