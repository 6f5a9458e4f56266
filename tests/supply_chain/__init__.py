"""What hashdb is made with: oldest and newest dependencies, and wheels of the same bytes wherever they are built."""
